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

    /// What a word states, also one such as `trainset` or `ValData`.
    fn of_word(word: &str) -> Option<Self> {
        let word = word.to_lowercase();
        let stem = ["set", "data"].iter().find_map(|ending| word.strip_suffix(ending)).unwrap_or(&word);
        Self::ALL.into_iter().find(|role| role.words().contains(&stem))
    }
}

/// The words of a name: letters between other characters, and `Val` and `Shard` of `ValShard`.
fn words(name: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for mut rest in name.split(|character: char| !character.is_alphabetic()) {
        let begin = |rest: &str| {
            let mut pairs = rest.chars().zip(rest.char_indices().skip(1));
            pairs.find_map(|(last, (at, next))| (last.is_lowercase() && next.is_uppercase()).then_some(at))
        };
        while let Some(at) = begin(rest) {
            let (word, further) = rest.split_at(at);
            words.push(word);
            rest = further;
        }
        words.extend(Some(rest).filter(|rest| !rest.is_empty()));
    }
    words
}

/// What the words of a name say of the split it belongs to, in upper or lower case.
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
        let mut alone = true;
        let mut stated: Option<Role> = None;
        for word in words(name) {
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
            ("trainset", one(Role::Train, true)),
            ("ValShard0", one(Role::Validation, false)),
            ("imageNetTestData", one(Role::Test, false)),
            ("ÄrgerVal", one(Role::Validation, false)),
            ("train_val", Stated::Both),
            ("trainVal", Stated::Both),
            ("trainval", Stated::Both),
            ("trains", Stated::Nothing),
            ("contest", Stated::Nothing),
            ("dataset", Stated::Nothing),
            ("asset", Stated::Nothing),
            ("evaluate", Stated::Nothing),
            ("00017", Stated::Nothing),
            ("", Stated::Nothing),
        ] {
            assert_eq!(Stated::by(name), stated, "{name}");
        }
    }
}
