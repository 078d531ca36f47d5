//! Features on disk: written once, named and checked by what they are of, read in blocks.
//!
//! A file is a safetensors file. Its header is read as the crate `safetensors` reads it; it is written here, because the
//! values come one block after the other and may be more than the memory holds, where that crate wants all of them at once.

mod header;
mod part;

use super::rows::{FeatureRows, FeatureShape};
use crate::{EvalError, Observer};
use base16ct::lower::encode_string as hex;
use clsa_run::rest_sha256;
use header::hash_of_values;
pub(crate) use header::whole_words;
use part::Part;
use safetensors::tensor::Metadata;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Room for the header of a file, which lists one tensor.
const MAX_HEADER: u64 = 1 << 16;

/// Feature vectors in a file: a safetensors file with one tensor `features` (rows, dim), and in its metadata a text that
/// says what they are of, and the SHA-256 of the values. Blocks of rows are read when they are asked for, so that a
/// training set need not fit into memory.
///
/// # Examples
/// ```
/// use clsa_eval::Silent;
/// use clsa_eval::features::{FeatureFile, FeatureRows, FeatureShape};
///
/// let folder = tempfile::tempdir()?;
/// let shape = FeatureShape { rows: 3, dim: 2, block: 1 };
/// let open = || {
///     FeatureFile::open_or_make(folder.path(), "three vectors", shape, (("features", "rows"), &Silent), |done, sink| {
///         (done..3).try_for_each(|row| sink(&[row as f32, 0.5]))
///     })
/// };
/// assert_eq!(open()?.rows(1..3)?.as_ref(), [1.0, 0.5, 2.0, 0.5]);
/// assert!(FeatureFile::open_if_made(folder.path(), "three vectors", shape)?.is_some());
/// assert!(FeatureFile::open_if_made(folder.path(), "others", shape)?.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FeatureFile {
    path: PathBuf,
    file: Mutex<File>,
    /// Where the values begin.
    start: u64,
    rows: usize,
    dim: usize,
}

impl FeatureFile {
    /// The features of `of` in `folder`, from the file that is named by the hash of that text. Where there is none it is
    /// made: `make` gives the vectors in order and in pieces of any size to the function it is called with, and the file then
    /// appears whole. Where an earlier process was interrupted, its first vectors are there already: `make` is called with their
    /// number, a multiple of `shape.block`, and gives those that follow. A file that is damaged is a warning to `observer` and made
    /// anew; another process that makes it is waited for. `work` is what progress is shown of, and the unit of a row.
    ///
    /// # Errors
    /// Those of `make`; a file that is there cannot be read, or the folder cannot be written.
    pub fn open_or_make(
        folder: &Path,
        of: &str,
        shape: FeatureShape,
        (work, observer): ((&str, &'static str), &dyn Observer),
        make: impl FnOnce(usize, &mut dyn FnMut(&[f32]) -> Result<(), EvalError>) -> Result<(), EvalError>,
    ) -> Result<Self, EvalError> {
        let path = path(folder, of);
        let failed = |source| EvalError::Io { path: path.clone(), source };
        match Self::open_if_made(folder, of, shape) {
            Ok(Some(file)) => return Ok(file),
            Ok(None) => {}
            // What cannot be read now may be whole.
            Err(error @ EvalError::Io { .. }) => return Err(error),
            Err(error) => {
                observer.warning(&format!("{error}; they are made anew"));
                match std::fs::remove_file(&path) {
                    // Another process has found the same.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    removed => removed.map_err(failed)?,
                }
            }
        }
        std::fs::create_dir_all(folder).map_err(failed)?;
        let waiting =
            || observer.note(&format!("waiting for another process, which makes the features {}", path.display()));
        let Some(mut part) = Part::open(&path, of, shape, &waiting).map_err(failed)? else {
            return Self::open(&path, of, shape);
        };
        let progress = observer.begin(work.0, work.1);
        make(part.rows(), &mut |values| {
            part.push(values).map_err(failed)?;
            progress(part.rows() as u64, shape.rows as u64);
            Ok(())
        })?;
        let start = part.finish(&path)?;
        let file = File::open(&path).map_err(failed)?;
        Ok(Self { path, file: Mutex::new(file), start, rows: shape.rows, dim: shape.dim })
    }

    /// The features of `of` in `folder`, where they were made before.
    ///
    /// # Errors
    /// The file is damaged or cannot be read.
    pub fn open_if_made(folder: &Path, of: &str, shape: FeatureShape) -> Result<Option<Self>, EvalError> {
        match Self::open(&path(folder, of), of, shape) {
            Err(EvalError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            file => file.map(Some),
        }
    }

    /// Opens a file and checks that it is whole.
    fn open(path: &Path, of: &str, shape: FeatureShape) -> Result<Self, EvalError> {
        let FeatureShape { rows, dim, .. } = shape;
        let damaged =
            |what: String| EvalError::File { path: path.to_owned(), reason: format!("these features {what}") };
        let unreadable = |source: io::Error| match source.kind() {
            io::ErrorKind::UnexpectedEof => damaged("are cut short".to_owned()),
            _ => EvalError::Io { path: path.to_owned(), source },
        };
        let mut file = File::open(path).map_err(unreadable)?;
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(unreadable)?;
        let length = u64::from_le_bytes(length);
        if length > MAX_HEADER {
            return Err(damaged("are damaged".to_owned()));
        }
        let mut header = vec![0; length as usize];
        file.read_exact(&mut header).map_err(unreadable)?;
        let header: Metadata = serde_json::from_slice(&header).map_err(|_| damaged("are damaged".to_owned()))?;
        let Some(sha256) = hash_of_values(&header, of, shape) else {
            return Err(damaged("are of something else, or damaged".to_owned()));
        };
        let start = 8 + length;
        let size = file.metadata().map_err(unreadable)?.len();
        if size != start + 4 * (rows * dim) as u64 {
            return Err(damaged("are cut short or too long".to_owned()));
        }
        if rest_sha256(&file).map_err(unreadable)? != sha256 {
            return Err(damaged("are damaged".to_owned()));
        }
        Ok(Self { path: path.to_owned(), file: Mutex::new(file), start, rows, dim })
    }
}

impl FeatureRows for FeatureFile {
    fn len(&self) -> usize {
        self.rows
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn rows(&self, range: Range<usize>) -> Result<Cow<'_, [f32]>, EvalError> {
        let mut values = vec![0f32; range.len() * self.dim];
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let read = file
            .seek(SeekFrom::Start(self.start + 4 * (range.start * self.dim) as u64))
            .and_then(|_| file.read_exact(bytemuck::cast_slice_mut(&mut values)));
        read.map_err(|source| EvalError::Io { path: self.path.clone(), source })?;
        if cfg!(target_endian = "big") {
            values.iter_mut().for_each(|value| *value = f32::from_bits(value.to_bits().swap_bytes()));
        }
        Ok(Cow::Owned(values))
    }
}

fn path(folder: &Path, of: &str) -> PathBuf {
    folder.join(format!("{}.safetensors", &hex(&Sha256::digest(of))[..16]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Silent;
    use std::fs;

    const SHAPE: FeatureShape = FeatureShape { rows: 7, dim: 3, block: 2 };

    fn row(row: usize) -> [f32; 3] {
        [row as f32, 0.5, -1.0]
    }

    /// Makes the features up to `stop`, where the work fails, and gives the rows that were there before.
    fn make(folder: &Path, stop: usize) -> (usize, Result<FeatureFile, EvalError>) {
        let mut before = usize::MAX;
        let file = FeatureFile::open_or_make(folder, "rows", SHAPE, (("features", "rows"), &Silent), |done, sink| {
            before = done;
            (done..SHAPE.rows.min(stop)).try_for_each(|at| sink(&row(at)))?;
            if stop < SHAPE.rows { Err(EvalError::OneClass) } else { Ok(()) }
        });
        (before, file)
    }

    /// The bytes of all files in a folder, by name.
    fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
        entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
    }

    #[test]
    fn features_that_were_interrupted_go_on_after_a_block_and_are_the_same_bytes() {
        let whole = tempfile::tempdir().unwrap();
        make(whole.path(), 7).1.unwrap();
        for stop in 0..7 {
            let folder = tempfile::tempdir().unwrap();
            assert!(matches!(make(folder.path(), stop).1, Err(EvalError::OneClass)));
            let (before, file) = make(folder.path(), 7);
            assert_eq!(before, stop / 2 * 2);
            assert_eq!(file.unwrap().rows(0..7).unwrap().as_ref(), (0..7).flat_map(row).collect::<Vec<_>>());
            assert_eq!(files(folder.path()), files(whole.path()));
        }
    }

    #[test]
    fn features_that_were_stopped_while_the_file_got_its_name_are_taken_over() {
        let (whole, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        make(whole.path(), 7).1.unwrap();
        make(folder.path(), 7).1.unwrap();
        let path = path(folder.path(), "rows");
        fs::rename(&path, format!("{}.part", path.display())).unwrap();
        let (before, file) = make(folder.path(), 7);
        assert_eq!(before, 7);
        file.unwrap();
        assert_eq!(files(folder.path()), files(whole.path()));
    }

    #[test]
    fn a_row_that_is_cut_off_is_made_again_and_so_is_another_part() {
        let whole = tempfile::tempdir().unwrap();
        make(whole.path(), 7).1.unwrap();
        /// Damages the bytes of a part of six rows; the first row begins at the number given.
        type Damage = fn(&mut Vec<u8>, usize);
        let damages: [(Damage, usize); 2] =
            [(|bytes, start| bytes.truncate(start + 4 * 12 + 5), 4), (|bytes, _| bytes[9] ^= 1, 0)];
        for (damage, rows) in damages {
            let folder = tempfile::tempdir().unwrap();
            make(folder.path(), 6).1.unwrap_err();
            let part = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
            let mut bytes = fs::read(&part).unwrap();
            let start = bytes.len() - 6 * 12;
            damage(&mut bytes, start);
            fs::write(&part, bytes).unwrap();
            let (before, file) = make(folder.path(), 7);
            assert_eq!(before, rows);
            assert_eq!(file.unwrap().rows(0..7).unwrap().as_ref(), (0..7).flat_map(row).collect::<Vec<_>>());
            assert_eq!(files(folder.path()), files(whole.path()));
        }
    }

    #[test]
    fn what_a_stopped_machine_left_unwritten_is_made_again() {
        let shape = FeatureShape { rows: 7, dim: 1500, block: 1 };
        let value = |at: usize| (at as f32).sin();
        let make = |folder: &Path, stop: usize| {
            let mut before = usize::MAX;
            let file =
                FeatureFile::open_or_make(folder, "rows", shape, (("features", "rows"), &Silent), |done, sink| {
                    before = done;
                    let row = |at: usize| (at * shape.dim..(at + 1) * shape.dim).map(value).collect::<Vec<f32>>();
                    (done..stop).try_for_each(|at| sink(&row(at)))?;
                    if stop < shape.rows { Err(EvalError::OneClass) } else { Ok(()) }
                });
            (before, file)
        };
        let whole = tempfile::tempdir().unwrap();
        make(whole.path(), 7).1.unwrap();
        for page in 1..9 {
            let folder = tempfile::tempdir().unwrap();
            make(folder.path(), 6).1.unwrap_err();
            let part = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
            let mut bytes = fs::read(&part).unwrap();
            let start = bytes.len() - 6 * 6000;
            let end = bytes.len().min((page + 1) * 4096);
            bytes[page * 4096..end].fill(0);
            fs::write(&part, bytes).unwrap();
            let (before, file) = make(folder.path(), 7);
            assert_eq!(before, (page * 4096 - start) / 6000, "page {page}");
            file.unwrap();
            assert_eq!(files(folder.path()), files(whole.path()));
        }
    }

    #[test]
    fn features_that_cannot_be_read_are_told_and_not_made_anew() {
        struct Unwarned;

        impl Observer for Unwarned {
            fn warning(&self, text: &str) {
                panic!("{text}");
            }
        }

        let folder = tempfile::tempdir().unwrap();
        let path = path(folder.path(), "rows");
        let is_told = || {
            let shown = (("features", "rows"), &Unwarned as &dyn Observer);
            let made = FeatureFile::open_or_make(folder.path(), "rows", SHAPE, shown, |_, _| panic!("they are made"));
            assert!(matches!(&made, Err(EvalError::Io { path: at, .. }) if *at == path), "{made:?}");
        };
        // A folder cannot be read as a file is, whoever reads it, and a link to itself is not even found.
        fs::create_dir(&path).unwrap();
        is_told();
        #[cfg(unix)]
        {
            fs::remove_dir(&path).unwrap();
            std::os::unix::fs::symlink(&path, &path).unwrap();
            is_told();
        }
    }

    #[test]
    fn one_that_comes_when_the_features_are_made_leaves_no_part() {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path(), 7).1.unwrap();
        let path = path(folder.path(), "rows");
        assert!(Part::open(&path, "rows", SHAPE, &|| {}).unwrap().is_none());
        assert_eq!(files(folder.path()).len(), 1);
    }

    #[test]
    fn two_that_make_the_same_features_wait_for_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let made = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let file = FeatureFile::open_or_make(
                        folder.path(),
                        "rows",
                        SHAPE,
                        (("features", "rows"), &Silent),
                        |_, sink| {
                            made.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                            (0..SHAPE.rows).try_for_each(|at| sink(&row(at)))
                        },
                    );
                    assert_eq!(file.unwrap().rows(6..7).unwrap().as_ref(), row(6));
                });
            }
        });
        assert_eq!((made.into_inner(), files(folder.path()).len()), (1, 1));
    }
}
