//! Names in the room that a figure has for them. Nothing here measures a font: widths are about those of usual letters.

/// A text in lines of up to `letters` letters, broken at spaces where there are some.
pub(super) fn lines(text: &str, letters: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_inclusive(' ') {
        let mut word: Vec<char> = word.chars().collect();
        let last = lines.len() - 1;
        let used = lines[last].chars().count();
        if used > 0 && used + word.iter().rposition(|c| *c != ' ').map_or(0, |at| at + 1) > letters {
            lines.push(String::new());
        }
        while !word.is_empty() {
            let last = lines.len() - 1;
            let room = letters - lines[last].chars().count().min(letters);
            if room == 0 {
                lines.push(String::new());
                continue;
            }
            lines[last].extend(word.drain(..room.min(word.len())));
        }
    }
    lines.iter().map(|line| line.trim_end().to_owned()).collect()
}

/// A name, cut off with `…` where it is wider than so many usual letters.
pub(super) fn shortened(name: &str, letters: usize) -> String {
    if width_in_letters(name) <= letters {
        return name.to_owned();
    }
    let mut width = 1;
    let fits = |letter: &char| {
        width += letter_width(*letter);
        width <= letters
    };
    name.chars().take_while(fits).chain(['…']).collect()
}

/// About how many usual letters a name is wide.
pub(super) fn width_in_letters(name: &str) -> usize {
    name.chars().map(letter_width).sum()
}

/// Wide letters of the Latin alphabet, and those of the East Asian scripts, count twice.
fn letter_width(letter: char) -> usize {
    if matches!(letter, 'M' | 'W' | 'm' | 'w' | '@' | '%' | '—' | '\u{1100}'..) { 2 } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_at_spaces_where_there_are_some() {
        assert_eq!(lines("clsa-0", 10), ["clsa-0"]);
        assert_eq!(lines("", 10), [""]);
        assert_eq!(lines("one two three four", 9), ["one two", "three", "four"]);
        assert_eq!(lines("abcdefghijklmnopqrstuvwxyz", 10), ["abcdefghij", "klmnopqrst", "uvwxyz"]);
    }

    #[test]
    fn wide_letters_count_twice() {
        assert_eq!((shortened("aaaa", 4), shortened("aaaaa", 4)), ("aaaa".to_owned(), "aaa…".to_owned()));
        assert_eq!(shortened("wwww", 4), "w…");
    }
}
