//! Writing pickles: the few instructions that a state dictionary needs of protocol 2 or 3.

/// A pickle in the making.
#[derive(Debug)]
pub(super) struct Pickler {
    bytes: Vec<u8>,
}

impl Pickler {
    /// Protocol 2 is PyTorch's; 3 adds bytes objects.
    pub fn new(protocol: u8) -> Self {
        Self { bytes: vec![0x80, protocol] }
    }

    /// The whole pickle, whose result is the object put down last.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.push(b'.');
        self.bytes
    }

    /// What was written so far, for a caller that writes large parts straight to a file.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    pub fn global(&mut self, module: &str, name: &str) {
        self.bytes.extend(format!("c{module}\n{name}\n").bytes());
    }

    pub fn none(&mut self) {
        self.bytes.push(b'N');
    }

    pub fn bool(&mut self, value: bool) {
        self.bytes.push(if value { 0x88 } else { 0x89 });
    }

    pub fn int(&mut self, value: i64) {
        match i32::try_from(value) {
            Ok(small) => {
                self.bytes.push(b'J');
                self.bytes.extend(small.to_le_bytes());
            }
            Err(_) => {
                self.bytes.extend([0x8a, 8]);
                self.bytes.extend(value.to_le_bytes());
            }
        }
    }

    /// Text of less than 4 GiB.
    pub fn text(&mut self, text: &str) {
        self.bytes.push(b'X');
        self.bytes.extend((text.len() as u32).to_le_bytes());
        self.bytes.extend(text.bytes());
    }

    /// The head of a bytes object of less than 4 GiB; the bytes themselves come next.
    pub fn bytes_of_len(&mut self, len: u32) {
        self.bytes.push(b'B');
        self.bytes.extend(len.to_le_bytes());
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.bytes_of_len(bytes.len() as u32);
        self.bytes.extend(bytes);
    }

    pub fn tuple(&mut self, parts: impl FnOnce(&mut Self)) {
        self.mark();
        parts(self);
        self.end_tuple();
    }

    pub fn sizes(&mut self, sizes: &[usize]) {
        self.tuple(|p| sizes.iter().for_each(|&size| p.int(size as i64)));
    }

    pub fn empty_dict(&mut self) {
        self.bytes.push(b'}');
    }

    /// Starts a tuple, or the items of the dictionary below: keys and values in turn.
    pub fn mark(&mut self) {
        self.bytes.push(b'(');
    }

    pub fn end_tuple(&mut self) {
        self.bytes.push(b't');
    }

    pub fn end_items(&mut self) {
        self.bytes.push(b'u');
    }

    /// Calls the function below with the argument tuple on top.
    pub fn reduce(&mut self) {
        self.bytes.push(b'R');
    }

    /// Gives the object below the state on top.
    pub fn build(&mut self) {
        self.bytes.push(b'b');
    }

    /// Turns the tuple on top into a reference to data outside the pickle.
    pub fn persistent(&mut self) {
        self.bytes.push(b'Q');
    }

    pub fn ordered_dict(&mut self) {
        self.global("collections", "OrderedDict");
        self.tuple(|_| ());
        self.reduce();
    }
}
