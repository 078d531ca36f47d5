//! Whom HTTPS trusts: Mozilla's list of authorities, or those of a file, as networks with an authority of their own need it.

use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// The variable that names the file, as programs with OpenSSL take it.
pub(crate) const VARIABLE: &str = "SSL_CERT_FILE";

/// How HTTPS is spoken. An error is what is wrong with the file that the environment's [`VARIABLE`] names.
pub(crate) fn tls_config() -> Result<TlsConfig, String> {
    match std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        None => Ok(TlsConfig::default()),
        Some(path) => {
            let failed = |reason: String| format!("{}: {reason}", path.to_string_lossy());
            let bytes = std::fs::read(&path).map_err(|error| failed(format!("cannot be read ({error})")))?;
            let roots = certificates(&bytes).map_err(failed)?;
            Ok(TlsConfig::builder().root_certs(RootCerts::new_with_certs(&roots)).build())
        }
    }
}

/// The certificates of a PEM file, of which there is at least one. An error is a reason.
fn certificates(pem: &[u8]) -> Result<Vec<Certificate<'static>>, String> {
    let mut found = Vec::new();
    for item in parse_pem(pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => found.push(certificate),
            Ok(_) => {}
            Err(_) => {
                return Err("is no file of certificates in PEM form; name another or leave the variable out".into());
            }
        }
    }
    if found.is_empty() {
        return Err("holds no certificate in PEM form; name another file or leave the variable out".into());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_read_one_after_another_and_a_file_without_any_is_refused() {
        let one = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(certificates(format!("# authorities\n{one}\n{one}").as_bytes()).unwrap().len(), 2);
        for (text, words) in [
            (String::new(), "holds no certificate"),
            ("some text\n".to_owned(), "holds no certificate"),
            (one.replace("AAAA", "!"), "is no file of certificates"),
            (one.replace("-----END CERTIFICATE-----", ""), "is no file of certificates"),
        ] {
            let reason = certificates(text.as_bytes()).map(|_| ()).unwrap_err();
            assert!(reason.contains(words), "{text}: {reason}");
        }
    }
}
