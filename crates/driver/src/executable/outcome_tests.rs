use std::time::Duration;

use super::*;

fn finished(ending: Ending, stdout: &str, stderr: &str) -> Finished {
    let id = id_line(stdout.as_bytes(), true);
    let deploy_id = match &id {
        IdLine::Id(id) => Some(id.clone()),
        IdLine::Blanks(id) if ending == Ending::Exit(0) => Some(id.clone()),
        _ => None,
    };
    Finished { ending, stdout: stdout.into(), stderr: stderr.into(), id, deploy_id }
}

fn id(text: &str) -> DeployId {
    DeployId::new(text).unwrap()
}

#[test]
fn the_id_is_the_first_line_that_is_not_empty() {
    assert_eq!(id_line(b"", true), IdLine::None);
    assert_eq!(id_line(b"\n \r\n", true), IdLine::None);
    assert_eq!(id_line(b"i-1", false), IdLine::None);
    assert_eq!(id_line(b"i-1", true), IdLine::Id(id("i-1")));
    assert_eq!(id_line(b"\n\n  i-1\r\n\nx\n", false), IdLine::Id(id("i-1")));
    assert_eq!(id_line(b"Out of stock\n", false), IdLine::Blanks(id("Out of stock")));
    assert!(matches!(id_line(b"\xff\xfe\n", false), IdLine::Unusable(_)));
    assert!(matches!(id_line(b"a\x1b[0m\n", false), IdLine::Unusable(_)));
    assert_eq!(id_line(b"\xef\xbb\xbfi-1\n", false), IdLine::Id(id("i-1")));
    for json in ["\"i-1\"\n", "{\n  \"id\": \"i-1\"\n}\n", "[\n", "{\"id\":1}\n"] {
        assert!(matches!(id_line(json.as_bytes(), false), IdLine::Unusable(_)), "{json}");
    }
    // What `jq -r` prints of an id that is not there, and a line above a greeting.
    for none in ["null\n", "None\n", "undefined\n"] {
        assert!(matches!(id_line(none.as_bytes(), false), IdLine::Unusable(_)), "{none}");
    }
    assert_eq!(id_line(b"-----\n", true), IdLine::None);
    assert_eq!(id_line(b"-----\n== *\ni-1\n", false), IdLine::Id(id("i-1")));
    let long = vec![b'x'; MAX_ID_LINE + 1];
    assert!(matches!(id_line(&long, false), IdLine::Unusable(_)));
    let error = finished(Ending::Exit(0), &"x".repeat(5000), "").deployed(&[]).unwrap_err();
    assert!(error.message.len() < 300, "{}", error.message);
}

#[test]
fn what_is_known_after_deploy() {
    use FailureKind::{Definite, Unknown};
    let deadline = Ending::Deadline(Duration::from_secs(3));
    for (ending, stdout, expected) in [
        (Ending::Exit(0), "i-1\n", Ok("i-1")),
        (Ending::Exit(0), "an id with blanks\n", Ok("an id with blanks")),
        (Ending::Exit(0), "", Err((Unknown, None))),
        (Ending::Exit(0), "\u{1}\u{2}\n", Err((Unknown, None))),
        (Ending::Exit(1), "", Err((Definite, None))),
        (Ending::Exit(255), "Out of stock\n", Err((Definite, None))),
        (Ending::Exit(i32::from(EXIT_UNKNOWN)), "", Err((Unknown, None))),
        (Ending::Exit(1), "i-1\n", Err((Unknown, Some("i-1")))),
        (Ending::Signal(9), "", Err((Unknown, None))),
        (Ending::Signal(9), "i-1\n", Err((Unknown, Some("i-1")))),
        (deadline, "", Err((Unknown, None))),
        (deadline, "i-1", Err((Unknown, Some("i-1")))),
        (Ending::TooMuchOutput(5), "i-1\n", Err((Unknown, Some("i-1")))),
        (Ending::Lost, "", Err((Unknown, None))),
        // Of a shell whose child was killed, and of timeout(1).
        (Ending::Exit(124), "", Err((Unknown, None))),
        (Ending::Exit(137), "", Err((Unknown, None))),
        (Ending::Exit(143), "", Err((Unknown, None))),
        (Ending::Exit(127), "", Err((Definite, None))),
        (Ending::Exit(128), "", Err((Definite, None))),
        (Ending::Exit(0), "null\n", Err((Unknown, None))),
        (Ending::Exit(1), "null\n", Err((Definite, None))),
        (Ending::Exit(1), "-----\ni-1\n", Err((Unknown, Some("i-1")))),
        // What a provider answers of a machine, and of none.
        (Ending::Exit(1), "{\"id\": \"i-1\", \"error\": null}\n", Err((Unknown, None))),
        (Ending::Exit(1), "{\n  \"id\": \"i-1\"\n}\n", Err((Unknown, None))),
        (Ending::Exit(1), "\"i-1\"\n", Err((Unknown, None))),
        (Ending::Exit(1), "{'id': 'i-1'}\n", Err((Unknown, None))),
        (Ending::Exit(1), "{\"server\": {\"id\": 1", Err((Unknown, None))),
        (Ending::Exit(1), "{\"id\": \"quota\", \"message\": \"no more\"}\n", Err((Definite, None))),
        (Ending::Exit(1), "{\"forbidden\": {\"message\": \"no\"}}\n", Err((Definite, None))),
        (Ending::Exit(1), "{\"errors\": [\"quota\"]}\n", Err((Definite, None))),
        (Ending::Exit(1), "\"no more of them\"\n", Err((Definite, None))),
        (Ending::Exit(1), "[ERROR] no more\n", Err((Definite, None))),
        (Ending::Exit(1), "[]\n", Err((Definite, None))),
    ] {
        let result = finished(ending, stdout, "").deployed(&[]);
        let result = result.map_err(|error| {
            assert!(!error.message.is_empty());
            (error.kind, error.deploy_id)
        });
        let expected = expected.map(id).map_err(|(kind, text)| (kind, text.map(id)));
        assert_eq!(result, expected, "{ending:?} {stdout:?}");
    }
}

#[test]
fn messages_are_the_drivers_words_with_secrets_masked() {
    let block = crate::error_block::block("token tok-123 is refused\nsecond");
    let error = finished(Ending::Exit(255), "", &block).deployed(&["tok-123"]).unwrap_err();
    assert_eq!(error.message, "token ***** is refused\nsecond");
    // Its own word counts, whatever the status and the output look like.
    for (code, stdout) in [(137, ""), (1, "{\"id\": 1}\n")] {
        let error = finished(Ending::Exit(code), stdout, &block).deployed(&[]).unwrap_err();
        assert_eq!(error.kind, FailureKind::Definite, "{code} {stdout}");
    }
    // The middle of a long text is left out, and what of a secret stands on either side of it is masked.
    for pad in 6100..6150 {
        let text = format!("{}tok-1234567890{}", "x".repeat(pad), "y".repeat(6000));
        for stderr in [crate::error_block::block(&text), text] {
            let error = finished(Ending::Exit(1), "", &stderr).deployed(&["tok-1234567890"]);
            assert!(!error.unwrap_err().message.contains("tok"), "{pad}");
        }
    }
    let line = format!("\"{}tok-123", "x".repeat(195));
    let error = finished(Ending::Exit(0), &line, "").deployed(&["tok-123"]).unwrap_err();
    assert!(!error.message.contains("tok"), "{}", error.message);
    let error = finished(Ending::Exit(255), "Out of stock\n", "").deployed(&[]).unwrap_err();
    assert_eq!(error.message, "Out of stock");
    let error = finished(Ending::Signal(11), "", "trace").done(&[]).err().unwrap();
    assert_eq!(error.message, "the driver was ended by signal 11 (SIGSEGV)\ntrace");
    let error =
        finished(Ending::Deadline(Duration::from_secs(90)), "", "").done(&[]).err().unwrap();
    assert_eq!(error.message, "the driver did not end within 90s and was ended");
}

#[test]
fn only_a_cancel_that_says_so_finds_nothing() {
    let cancel = |ending, stderr| {
        finished(ending, "", stderr)
            .found(&id("i-1"), "h", &[])
            .map(drop)
            .map_err(|error| error.kind)
    };
    assert_eq!(cancel(Ending::Exit(0), ""), Ok(()));
    assert_eq!(cancel(Ending::Exit(255), "machine i-1 not found"), Err(FailureKind::NotFound));
    assert_eq!(cancel(Ending::Exit(127), "curl: not found"), Err(FailureKind::Definite));
    assert_eq!(cancel(Ending::Exit(1), "busy"), Err(FailureKind::Definite));
    assert_eq!(cancel(Ending::Signal(9), "machine not found"), Err(FailureKind::Unknown));
}

#[test]
fn a_second_id_is_noticed() {
    let first = id("i-1");
    assert_eq!(second_id(b"i-1\n\ni-2\n", &first), Some(id("i-2")));
    assert_eq!(second_id(b"i-1\n\ni-1\nall is well\n", &first), None);
    assert_eq!(second_id(b"\xef\xbb\xbfi-1\n", &first), None);
}

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Told(std::sync::Arc<std::sync::Mutex<String>>);

impl tracing::field::Visit for Told {
    fn record_debug(&mut self, _: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.0.lock().unwrap().push_str(&format!("{value:?}\n"));
    }
}

impl tracing::Subscriber for Told {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut self.clone());
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn no_secret_is_logged_wherever_a_driver_prints_it() {
    let told = Told::default();
    tracing::subscriber::with_default(told.clone(), || {
        let secrets = ["tok-123"];
        let deployed = finished(Ending::Exit(0), "i-1\ntok-123\n", "tok-123");
        log(&deployed, "deploy", Action::Deploy, &secrets);
        let url = "STATE=a CONSOLE_URL=https://u:tok-123@api.example/\n";
        log(&finished(Ending::Exit(0), url, ""), "poll", Action::Poll, &secrets);
        let long = format!("i-1\n{}tok-123", "x".repeat(crate::error_block::MAX_MESSAGE - 6));
        log(&finished(Ending::Exit(0), &long, ""), "deploy", Action::Deploy, &secrets);
        let _ = deployed.powered_on(id("i-1"), &secrets);
        let _ = finished(Ending::Exit(0), "tok-123\n", "").powered_on(id("i-1"), &secrets);
    });
    let told = told.0.lock().unwrap();
    assert!(told.contains("second deploy id, *****") && told.contains("CONSOLE_URL"), "{told}");
    assert!(told.contains("printed the id *****"), "{told}");
    assert!(!told.contains("tok-"), "{told}");
}
