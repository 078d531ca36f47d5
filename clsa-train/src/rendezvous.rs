//! How the first of several processes hands a few bytes to the others, before they have another way to talk: they ask for them at
//! an address that all know.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// What each process says first, followed by its number: so that nobody else is taken for one of them.
const GREETING: &[u8; 8] = b"clsa-ask";
/// What each process says when it has the bytes.
const RECEIVED: u8 = b'!';
/// Time between two attempts.
const PAUSE: Duration = Duration::from_millis(50);
/// The longest that one process that has connected may take to ask.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Hands `bytes` to the processes 1 to `others`, once to each, until `until`.
///
/// # Errors
/// Not all have asked by then; names those that have not.
pub fn hand_out(listener: &TcpListener, bytes: &[u8], others: usize, until: Instant) -> Result<()> {
    listener.set_nonblocking(true)?;
    let mut waits = vec![true; others];
    while waits.contains(&true) {
        match listener.accept() {
            Ok((stream, _)) => {
                // Who is not one of them, or goes away, is left.
                if let Ok(Some(number)) = asked(&stream, others)
                    && (&stream).write_all(bytes).is_ok()
                    && has_received(&stream)
                {
                    waits[number - 1] = false;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if Instant::now() > until {
                    let missing: Vec<String> =
                        (1..=others).filter(|number| waits[number - 1]).map(|number| number.to_string()).collect();
                    let which = if missing.len() == 1 { "rank" } else { "ranks" };
                    return Err(Error::new(
                        ErrorKind::TimedOut,
                        format!("{which} {} did not come", missing.join(", ")),
                    ));
                }
                std::thread::sleep(PAUSE);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether the process has the bytes: one that has given up waiting takes them only where nobody sees it.
fn has_received(mut stream: &TcpStream) -> bool {
    let mut answer = [0];
    stream.read_exact(&mut answer).is_ok() && answer == [RECEIVED]
}

/// The number of the process that asks; none where something else has connected.
fn asked(mut stream: &TcpStream, others: usize) -> Result<Option<usize>> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.set_write_timeout(Some(ANSWER_WITHIN))?;
    let mut greeting = [0; GREETING.len()];
    let mut number = [0; 4];
    stream.read_exact(&mut greeting)?;
    stream.read_exact(&mut number)?;
    let number = u32::from_le_bytes(number) as usize;
    Ok((greeting == *GREETING && (1..=others).contains(&number)).then_some(number))
}

/// Asks for `len` bytes as process `number`, until `until`.
///
/// # Errors
/// Nobody answers by then.
pub fn ask(address: &str, number: usize, len: usize, until: Instant) -> Result<Vec<u8>> {
    loop {
        let error = match ask_once(address, number, len) {
            Ok(bytes) => return Ok(bytes),
            Err(error) => error,
        };
        if Instant::now() > until {
            return Err(Error::new(ErrorKind::TimedOut, format!("{address} does not answer ({error})")));
        }
        std::thread::sleep(PAUSE);
    }
}

fn ask_once(address: &str, number: usize, len: usize) -> Result<Vec<u8>> {
    let mut stream = connect(address)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.write_all(GREETING)?;
    stream.write_all(&(number as u32).to_le_bytes())?;
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes)?;
    stream.write_all(&[RECEIVED])?;
    Ok(bytes)
}

/// Connects to the first of the addresses of a name that answers: a name may stand for one of IPv6 where nobody listens.
fn connect(address: &str) -> Result<TcpStream> {
    let mut last = Error::new(ErrorKind::NotFound, "no such address");
    for socket in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&socket, ANSWER_WITHIN) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn every_process_gets_the_bytes_whoever_else_connects() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        // Someone who says nothing of it, someone who goes, and a number that there is not.
        let mut stranger = TcpStream::connect(&address).unwrap();
        stranger.write_all(b"GET / HTTP/1.1\r\n").unwrap();
        drop(TcpStream::connect(&address).unwrap());
        let mut other = TcpStream::connect(&address).unwrap();
        other.write_all(GREETING).unwrap();
        other.write_all(&7u32.to_le_bytes()).unwrap();
        let asking: Vec<_> = (1..=3)
            .map(|number| {
                let address = address.clone();
                std::thread::spawn(move || ask(&address, number, 5, soon()).unwrap())
            })
            .collect();
        hand_out(&listener, b"12345", 3, soon()).unwrap();
        for asking in asking {
            assert_eq!(asking.join().unwrap(), b"12345");
        }
    }

    #[test]
    fn who_has_given_up_before_the_bytes_came_is_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        // It has asked and gone: the bytes would be written to nobody.
        let mut gone = TcpStream::connect(&address).unwrap();
        gone.write_all(GREETING).unwrap();
        gone.write_all(&1u32.to_le_bytes()).unwrap();
        gone.shutdown(std::net::Shutdown::Write).unwrap();
        let asking = std::thread::spawn(move || {
            std::thread::sleep(4 * PAUSE);
            ask(&address, 1, 5, soon()).unwrap()
        });
        hand_out(&listener, b"12345", 1, soon()).unwrap();
        assert_eq!(asking.join().unwrap(), b"12345");
    }

    #[test]
    fn who_does_not_come_is_named_and_who_is_not_there_too() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        // It has said everything before anyone listens, so that it is in time however busy the machine is.
        let mut second = TcpStream::connect(&address).unwrap();
        second.write_all(GREETING).unwrap();
        second.write_all(&2u32.to_le_bytes()).unwrap();
        second.write_all(&[RECEIVED]).unwrap();
        let until = Instant::now() + Duration::from_millis(500);
        let error = hand_out(&listener, b"1", 3, until).unwrap_err();
        assert_eq!(error.to_string(), "ranks 1, 3 did not come");
        let mut bytes = [0];
        second.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes, *b"1");
        drop(listener);
        let error = ask(&address, 1, 1, Instant::now()).unwrap_err();
        assert!(error.to_string().contains(&format!("{address} does not answer")), "{error}");
    }
}
