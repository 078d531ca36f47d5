//! Pillow in a process of its own, which says what it makes of an image.

use clsa_data::image::RgbImage;
use std::cell::RefCell;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

/// The variable that names a Python with Pillow.
const PYTHON: &str = "CLSA_FUZZ_PYTHON";

thread_local! {
    /// A process that answers questions.
    static PILLOW: RefCell<Option<Child>> = RefCell::new(start());
}

/// Starts it where the environment names a Python.
fn start() -> Option<Child> {
    let python = std::env::var_os(PYTHON)?;
    let process = Command::new(python)
        .args(["-c", include_str!("pillow.py")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("CLSA_FUZZ_PYTHON names a program");
    Some(process)
}

/// Checks that an image is what Pillow makes of these bytes, where it takes them for an image.
///
/// # Panics
/// Pillow cannot decode the bytes, or makes another image of them.
pub fn compare(bytes: &[u8], image: &RgbImage) {
    PILLOW.with_borrow_mut(|pillow| {
        let Some(process) = pillow else { return };
        let (questions, answers) = (process.stdin.as_mut(), process.stdout.as_mut());
        let (questions, answers) = (questions.expect("it is piped"), answers.expect("it is piped"));
        let length = u32::try_from(bytes.len()).expect("inputs are small");
        let question = [&length.to_le_bytes(), bytes].concat();
        questions.write_all(&question).and_then(|()| questions.flush()).expect("Pillow listens");
        let mut answer = [0; 12];
        answers.read_exact(&mut answer).expect("Pillow answers");
        let number = |at: usize| u32::from_le_bytes(std::array::from_fn(|byte| answer[at + byte]));
        // Pillow's own reader of headers, before libjpeg's, knows fewer markers.
        if (number(0), number(8)) == (0, 1) {
            return;
        }
        assert!(number(0) != 0, "Pillow refuses what is read");
        assert_eq!((number(0), number(4)), image.dimensions(), "Pillow finds another size");
        assert_eq!(number(8), crc32fast::hash(image.as_raw()), "Pillow finds other pixels");
    });
}
