use std::sync::Mutex;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// A server that gives these answers, one a connection, and then closes without one. An empty answer is
/// a connection that is closed after the request was read.
async fn server(answers: &[&str]) -> (Url, Arc<Mutex<usize>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/x", listener.local_addr().unwrap()).parse().unwrap();
    let answers: Vec<String> = answers.iter().map(|text| (*text).to_owned()).collect();
    let asked = Arc::new(Mutex::new(0));
    let count = asked.clone();
    tokio::spawn(async move {
        let mut answers = answers.into_iter();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer).await;
            *count.lock().unwrap() += 1;
            let _ = stream.write_all(answers.next().unwrap_or_default().as_bytes()).await;
        }
    });
    (url, asked)
}

fn answer(head: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {head}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
}

async fn exchange(url: &Url, effect: Effect, seconds: u64) -> Result<Answer, Failure> {
    let http = Http::new(HttpSettings::default()).unwrap();
    let request = || {
        let (method, headers) = (Method::POST, HeaderMap::new());
        Ok(Request { method, url: url.clone(), headers, body: b"{}".to_vec() })
    };
    let until = Instant::now() + Duration::from_secs(seconds);
    http.exchange(effect, until, request, judge_by_status).await
}

#[tokio::test]
async fn a_throttled_request_is_sent_again_whatever_it_does() {
    let busy = answer("429 Too Many Requests\r\nRetry-After: 0", "slow down");
    let away = answer("503 Busy\r\nRetry-After: 0", "");
    let good = answer("201 Created", "{}");
    let (url, asked) = server(&[&busy, &away, &good]).await;
    assert_eq!(exchange(&url, Effect::Creates, 60).await.unwrap().status, 201);
    assert_eq!(*asked.lock().unwrap(), 3);
}

#[tokio::test]
async fn who_asks_to_wait_is_waited_for_and_who_is_in_trouble_not_for_ever() {
    let busy = answer("429 Too Many Requests\r\nRetry-After: 1", "");
    let trouble = answer("500 Oops", "for ten minutes");
    let settings = HttpSettings { patience: Duration::from_millis(100), ..HttpSettings::default() };
    let http = Http::new(settings).unwrap();
    for (first, expected) in [(&busy, Ok(200)), (&trouble, Err("for ten minutes (HTTP 500)"))] {
        let (url, _) = server(&[first, &answer("200 OK", "{}")]).await;
        let request = || {
            let (method, headers) = (Method::GET, HeaderMap::new());
            Ok(Request { method, url: url.clone(), headers, body: Vec::new() })
        };
        let until = Instant::now() + Duration::from_secs(60);
        let sent = http.exchange(Effect::Repeatable, until, request, judge_by_status).await;
        let seen = sent.map(|answer| answer.status).map_err(|error| error.to_string());
        assert_eq!(seen, expected.map_err(str::to_owned));
    }
}

#[tokio::test]
async fn what_creates_is_never_sent_again_if_it_may_have_arrived() {
    let trouble = answer("500 Oops", "<html><h1>Oops</h1>really</html>");
    let cut = "HTTP/1.1 201 Created\r\nContent-Length: 99\r\n\r\n{\"id\":";
    for (first, said) in
        [(trouble.as_str(), "Oops really (HTTP 500)"), ("", "was lost"), (cut, "broke off")]
    {
        let (url, asked) = server(&[first, &answer("201 Created", "{}")]).await;
        match exchange(&url, Effect::Creates, 60).await.unwrap_err() {
            Failure::Unknown(why) => assert!(why.contains(said), "{why}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(*asked.lock().unwrap(), 1);
    }
}

#[tokio::test]
async fn what_is_repeatable_is_repeated() {
    let trouble = answer("502 Bad Gateway", "");
    let (url, asked) = server(&["", &trouble, &answer("200 OK", "yes")]).await;
    assert_eq!(exchange(&url, Effect::Repeatable, 60).await.unwrap().body, b"yes");
    assert_eq!(*asked.lock().unwrap(), 3);
}

#[tokio::test]
async fn a_refusal_is_an_answer() {
    let refusal = answer("422 Unprocessable", r#"{"errors":["plan is unknown"]}"#);
    let (url, _) = server(&[&refusal]).await;
    let answer = exchange(&url, Effect::Creates, 60).await.unwrap();
    assert_eq!(answer.words(), "plan is unknown (HTTP 422)");
}

#[tokio::test]
async fn nobody_there_is_not_sent_and_silence_is_unknown() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: Url = format!("http://{}/x", listener.local_addr().unwrap()).parse().unwrap();
    let silent = exchange(&url, Effect::Creates, 1).await.unwrap_err();
    assert_eq!(silent, Failure::Unknown("no answer came in time".into()));
    drop(listener);
    let error = exchange(&url, Effect::Creates, 1).await.unwrap_err();
    assert!(
        matches!(&error, Failure::NotSent(why) if why.contains("Connection refused")),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_answer_without_end_is_cut() {
    let (url, _) = server(&[&answer("200 OK", &"x".repeat(2000))]).await;
    let settings = HttpSettings { answer_limit: 1000, ..HttpSettings::default() };
    let http = Http::new(settings).unwrap();
    let request = Request { method: Method::GET, url, headers: HeaderMap::new(), body: Vec::new() };
    let error = http
        .send(Effect::Repeatable, request, Instant::now() + Duration::from_secs(60))
        .await
        .unwrap_err();
    assert_eq!(error, NoAnswer::Lost("the answer has more than 1000 bytes".into()));
}

#[test]
fn words_are_found_where_providers_put_them() {
    for (body, said) in [
        (r#"{"error":"Invalid authentication token"}"#, "Invalid authentication token"),
        (r#"{"errors":["a is bad","b is bad."]}"#, "a is bad; b is bad"),
        (r#"{"errors":{"plan":["is unknown"]}}"#, "plan: is unknown"),
        (
            r#"{"error":{"code":"Base.1.0.GeneralError","message":"see the details",
            "@Message.ExtendedInfo":[{"MessageId":"x","Message":"The system is busy."}]}}"#,
            "The system is busy; see the details",
        ),
        ("<html><title>502</title>\n<h1>Bad \u{1b}[31mGateway</h1>", "502 Bad Gateway"),
        ("", ""),
        ("{\"half", "{\"half"),
        ("{}", "{}"),
    ] {
        assert_eq!(words(body.as_bytes()), said);
    }
    assert_eq!(words(&[b'x'; 100_000]).chars().count(), 401);
}

proptest! {
    #[test]
    fn any_answer_is_survived(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let said = words(&body);
        prop_assert!(said.chars().count() <= 401 && !said.contains('\n'));
    }
}
