//! Text from a target or a configuration, made safe to show: it is data, wherever it stands.

/// `text` on one line, control and direction-changing characters replaced, at most `max` characters.
pub fn clean(text: &str, max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max * 4));
    for (index, character) in text.chars().enumerate() {
        if index == max {
            out.push('…');
            break;
        }
        out.push(if harmless(character) { character } else { ' ' });
    }
    out
}

/// Neither a control character nor one that changes what the reader sees of its neighbours.
fn harmless(character: char) -> bool {
    !character.is_control()
        && !matches!(character,
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// Like [`clean`], printable ASCII only, for header fields.
pub fn ascii(text: &str, max: usize) -> String {
    clean(text, max)
        .chars()
        .map(|character| match character {
            ' '..='~' => character,
            '…' => '~',
            _ => '?',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_stays_data() {
        assert_eq!(clean("a\r\nBcc: x\u{202e}y\u{7}", 99), "a  Bcc: x y ");
        assert_eq!(clean("abcdef", 3), "abc…");
        assert_eq!(clean("abc", 3), "abc");
        assert_eq!(ascii("Köln\n→ abcdef", 8), "K?ln ? a~");
    }
}
