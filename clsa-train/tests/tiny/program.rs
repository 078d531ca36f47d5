//! The program, and what it says.

use assert_cmd::Command;

pub fn clsa() -> Command {
    let mut command = Command::cargo_bin("clsa").unwrap();
    // Servers of the tests are on this machine, whatever stands between it and others.
    command.env("NO_PROXY", "127.0.0.1");
    command
}

pub fn stderr(assert: &assert_cmd::assert::Assert) -> String {
    String::from_utf8(assert.get_output().stderr.clone()).unwrap()
}

/// One sentence on the error stream that holds all of `words`, and the exit code.
pub fn refused(assert: assert_cmd::assert::Assert, code: i32, words: &[&str]) {
    let text = stderr(&assert);
    let error = text.lines().find(|line| line.starts_with("error: ")).unwrap_or_else(|| panic!("no error in {text}"));
    for word in words {
        assert!(error.contains(word), "{error:?} does not name {word:?}");
    }
    assert.code(code);
}
