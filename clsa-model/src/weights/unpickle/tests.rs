//! Pickles that make parameters in unusual ways.

use super::{Object, Pickle};

/// A tuple is an object and the memory of its parts, so that it counts as two.
#[test]
fn tuples_of_tuples_are_refused_before_they_are_too_many() {
    let program = [b"\x80\x02)".to_vec(), vec![0x85; 2_100_000], b".".to_vec()].concat();
    assert!(format!("{:?}", Pickle::read(&mut &program[..]).unwrap_err()).contains("millions of instructions"));
}

/// A `Parameter` of the tensor with the key 7, made by NEWOBJ, in two ways; and what makes none.
#[test]
fn parameters_may_be_made_as_objects() {
    let read = |program: &[u8]| Pickle::read(&mut &[b"\x80\x02ctorch.nn.parameter\nParameter\n", program].concat()[..]);
    let tensor = |program: &[u8]| match read(program).unwrap().result() {
        Object::TensorKey(key) => *key,
        other => panic!("{other:?} is no tensor"),
    };
    // Parameter(tensor, True); then also with a state.
    assert_eq!(tensor(b"K\x07Q\x88\x86\x81."), 7);
    assert_eq!(tensor(b"K\x07Q\x88\x86\x81}b."), 7);
    // Parameter(), whose state is (tensor, True).
    assert_eq!(tensor(b")\x81K\x07Q\x88\x86b."), 7);
    assert!(format!("{:?}", read(b")\x81)b.").unwrap_err()).contains("has no tensor"));
    let other = Pickle::read(&mut &b"\x80\x02ctorch\nFloatStorage\n)\x81."[..]).unwrap_err();
    assert!(format!("{other:?}").contains("makes an object that is neither a tensor nor plain data"));
}
