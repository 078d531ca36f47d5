//! Overrides: `KEY=VALUE` with a dotted key and a TOML value, put into a table.

use toml::{Table, Value};

/// Puts the value of an override in its place. An error is a reason.
pub(super) fn apply(table: &mut Table, text: &str) -> Result<(), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE, such as optim.lr=0.06")?;
    insert(table, key.trim(), value_of(value.trim())?)
}

/// A TOML value; a text that is none is a string.
fn value_of(text: &str) -> Result<Value, String> {
    let document: Result<Table, _> = format!("value = {text}").parse();
    match document.map(|mut table| table.remove("value")) {
        Ok(Some(value)) => Ok(value),
        _ if text.parse::<i64>().is_err() && text.parse::<i128>().is_ok() => {
            Err(format!("whole numbers go from {} to {}", i64::MIN, i64::MAX))
        }
        _ => Ok(Value::String(text.to_owned())),
    }
}

fn insert(table: &mut Table, key: &str, value: Value) -> Result<(), String> {
    let (parents, last) = match key.rsplit_once('.') {
        Some((parents, last)) => (parents.split('.').collect(), last),
        None => (Vec::new(), key),
    };
    let mut at = table;
    for parent in parents {
        let next = at.entry(parent).or_insert_with(|| Value::Table(Table::new()));
        // A name, or whether there is one at all, in the place of a table: `head = "mlp"`, `blur = false`.
        if next.is_str() || next.is_bool() {
            *next = Value::Table(Table::new());
        }
        at = next.as_table_mut().ok_or_else(|| format!("{parent} is not a table"))?;
    }
    at.insert(last.to_owned(), value);
    Ok(())
}
