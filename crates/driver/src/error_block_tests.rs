use proptest::prelude::*;

use super::*;

fn of(stdout: &str, stderr: &str) -> String {
    message(stdout.as_bytes(), stderr.as_bytes(), "exit status 1")
}

#[test]
fn the_block_is_the_message() {
    let block =
        "noise\nERROR MESSAGE --8<------\nfirst\nsecond\n\nERROR MESSAGE ------>8--\nmore\n";
    assert_eq!(of("out", block), "first\nsecond");
    assert_eq!(of("", &block.replace('\n', "\r\n")), "first\nsecond");
    assert!(has_block(block.as_bytes()));
    let unterminated = "ERROR MESSAGE --8<------\nfirst\nsecond";
    assert_eq!(of("", unterminated), "first\nsecond");
    assert!(!has_block(unterminated.as_bytes()));
}

#[test]
fn several_blocks_are_joined_and_empty_ones_passed_over() {
    let text = format!("{}{}{}{}", block(""), block("one"), block("two"), block("one"));
    assert_eq!(of("", &text), "one\ntwo");
    assert_eq!(of("", &block("")), "the driver gave no reason; it ended with exit status 1");
    assert_eq!(of("", &(block("") + "plain\n")), "plain");
}

#[test]
fn without_a_block_the_plain_text_is_the_message() {
    assert_eq!(of("out", " \nTraceback:\n  x\n"), "Traceback:\n  x");
    assert_eq!(of("quota exceeded\n", ""), "quota exceeded");
    assert_eq!(of("", ""), "the driver gave no reason; it ended with exit status 1");
    assert_eq!(of("ERROR MESSAGE --8<------\nx\nERROR MESSAGE ------>8--", ""), "x");
}

#[test]
fn garbage_is_counted_not_shown() {
    let garbage: Vec<u8> = (0..=255).cycle().take(5000).collect();
    assert_eq!(
        message(b"", &garbage, "signal 9"),
        "the driver wrote 5000 bytes that are not text; it ended with signal 9"
    );
    assert_eq!(message(b"readable", &garbage, "signal 9"), "readable");
}

#[test]
fn escapes_and_control_characters_are_made_harmless() {
    assert_eq!(printable("\u{1B}[31;1mred\u{1B}[0m\u{7} x\u{8}"), "red x");
    assert_eq!(printable("\u{1B}]0;title\u{7}a\u{1B}]8;;http://x\u{1B}\\b"), "ab");
    assert_eq!(printable("\u{1B}]open\nnext \u{9B}2Jz"), "\nnext z".trim_start());
    assert_eq!(printable("10%\r50%\rdone\r\nend"), "10%\n50%\ndone\nend");
    assert_eq!(printable("a\u{202E}b\u{200B}c\td"), "abc d");
    assert_eq!(printable("  indented\n"), "  indented");
}

#[test]
fn a_message_is_bounded_and_keeps_both_ends() {
    let long = format!("first line\n{}\nlast line", "é".repeat(50_000));
    let text = of("", &long);
    assert!(text.starts_with("first line\n") && text.ends_with("\nlast line"));
    assert!(text.contains("bytes left out") && text.len() < MAX_MESSAGE + 100, "{}", text.len());
    let late = "noise\n".repeat(1 << 20) + &block("the reason");
    assert_eq!(of("", &late), "the reason");
    let huge = vec![b'x'; 10 << 20];
    assert!(message(&huge, &huge, "signal 9").len() < MAX_MESSAGE + 100);
}

#[test]
fn a_marker_in_the_text_does_not_end_the_block() {
    let text = format!("a\n{CLOSING}\nb");
    assert_eq!(of("", &block(&text)), format!("a\n> {CLOSING}\nb"));
}

proptest! {
    #[test]
    fn any_bytes_give_a_printable_message(
        out in proptest::collection::vec(any::<u8>(), 0..200),
        err in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let text = message(&out, &err, "exit status 1");
        prop_assert!(!text.trim().is_empty());
        prop_assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    }

    #[test]
    fn a_block_is_read_back(text in "[ -~é\n]{1,200}") {
        let expected = printable(text.trim());
        prop_assume!(!expected.is_empty());
        prop_assert_eq!(message(b"", block(&text).as_bytes(), "x"), expected);
    }
}
