//! The parts of a source: one to train on, one to test on; and the words in names that state them.

use std::fmt;

/// A part of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// The samples to train on.
    Train,
    /// The samples to test on: `test` or `val`, whichever the source has.
    Test,
}

impl Split {
    /// Both splits.
    pub const ALL: [Split; 2] = [Split::Train, Split::Test];

    /// What the names of this split's folders and files state, in the order in which they are looked for.
    pub(crate) fn roles(self) -> &'static [Role] {
        match self {
            Split::Train => &[Role::Train],
            Split::Test => &[Role::Validation, Role::Test],
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Split::Train => "train",
            Split::Test => "test",
        })
    }
}

/// What the name of a folder or file says that it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Train,
    Validation,
    Test,
}

impl Role {
    const ALL: [Role; 3] = [Role::Train, Role::Validation, Role::Test];

    /// The words that state it, in lower case: those of the `datasets` library of Hugging Face.
    pub(crate) fn words(self) -> &'static [&'static str] {
        match self {
            Role::Train => &["train", "training"],
            Role::Validation => &["val", "validation", "valid", "dev"],
            Role::Test => &["test", "testing", "eval", "evaluation"],
        }
    }

    pub(crate) fn split(self) -> Split {
        match self {
            Role::Train => Split::Train,
            Role::Validation | Role::Test => Split::Test,
        }
    }

    fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.words().iter().any(|known| word.eq_ignore_ascii_case(known)))
    }
}

/// What the words of a name (letters between other characters, in upper or lower case) say of the split it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stated {
    /// Nothing.
    Nothing,
    /// One split.
    One {
        role: Role,
        /// Whether the name has no other words: `Train` and `val2017`, but not `my_val` or `train_station`.
        alone: bool,
    },
    /// Both splits, as `train_val` does.
    Both,
}

impl Stated {
    pub(crate) fn by(name: &str) -> Self {
        let words = name.split(|character: char| !character.is_alphabetic()).filter(|word| !word.is_empty());
        let mut alone = true;
        let mut stated: Option<Role> = None;
        for word in words {
            match (Role::of_word(word), stated) {
                (None, _) => {
                    alone = false;
                    if word.eq_ignore_ascii_case("trainval") {
                        return Self::Both;
                    }
                }
                (Some(role), Some(other)) if role.split() != other.split() => return Self::Both,
                (Some(role), other) => stated = Some(other.map_or(role, |other| other.min(role))),
            }
        }
        stated.map_or(Self::Nothing, |role| Self::One { role, alone })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_states_a_split_by_a_word_between_other_characters() {
        let one = |role, alone| Stated::One { role, alone };
        for (name, stated) in [
            ("imagenet1k-train-0000", one(Role::Train, false)),
            ("imagenet1k-validation-00", one(Role::Validation, false)),
            ("TRAIN", one(Role::Train, true)),
            ("val2017", one(Role::Validation, true)),
            ("my_val", one(Role::Validation, false)),
            ("test-dev", one(Role::Validation, true)),
            ("Training.01", one(Role::Train, true)),
            ("train_val", Stated::Both),
            ("trainval", Stated::Both),
            ("trains", Stated::Nothing),
            ("contest", Stated::Nothing),
            ("evaluate", Stated::Nothing),
            ("00017", Stated::Nothing),
            ("", Stated::Nothing),
        ] {
            assert_eq!(Stated::by(name), stated, "{name}");
        }
    }
}
