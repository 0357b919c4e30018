//! What the client does when a front-end is slow, busy, gone or wrong. Time is tokio's and paused.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod common;

use std::error::Error as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use common::{
    Answer, Script, bad_login, credentials, fault, gone, maybe_sent, not_sent, ok, refuse,
};
use model::{Attributes, ClusterId, HostId, ImageId, Secret, VnetId};
use opennebula::objects::{GroupId, Host, HostState, Permissions, Update};
use opennebula::xmlrpc::Param;
use opennebula::{
    CallObserver, CallRecord, Client, ClientSettings, Effect, Error, ErrorKind, Take, Transport,
    TransportError, Waiting,
};
use tokio::time::Instant;

const HOST: &str = "<HOST><ID>7</ID><NAME>h</NAME><STATE>42</STATE></HOST>";

async fn rename(client: &Client) -> Result<(), Error> {
    client.hosts().rename(HostId(7), "x").await
}

fn html(status: u16) -> Answer {
    Err(TransportError::NotOpenNebula { status, excerpt: "a page".to_owned() })
}

fn deadline() -> Answer {
    Err(TransportError::Deadline { after: Duration::from_secs(60) })
}

#[tokio::test(start_paused = true)]
async fn a_read_is_repeated_in_any_passing_trouble() {
    let script = Script::of([
        ok(HOST),
        not_sent(),
        maybe_sent(),
        deadline(),
        html(502),
        bad_login(),
        ok(HOST),
    ]);
    let client = script.client();
    client.hosts().info(HostId(7)).await.unwrap();
    let host = client.hosts().info(HostId(7)).await.unwrap();
    assert_eq!((host.state, host.name.as_str()), (HostState::Other(42), "h"));
    assert_eq!(script.count(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_write_is_repeated_only_if_it_was_certainly_not_executed() {
    let busy = || refuse(8192, -1, "[one.host.rename] Error: database is locked");
    let script = Script::of([ok(HOST), not_sent(), bad_login(), busy(), ok(7)]);
    let client = script.client();
    client.hosts().info(HostId(7)).await.unwrap();
    rename(&client).await.unwrap();
    assert_eq!(script.count(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_write_without_an_answer_is_unknown_and_not_repeated() {
    let too_large = Err(TransportError::TooLarge { limit: 5 });
    let half = Ok(b"<?xml version='1.0'?><methodResponse><par".to_vec());
    let odd = ok("no id");
    for answer in
        [maybe_sent(), deadline(), html(200), html(502), too_large, half, fault(-500), odd]
    {
        let shown = format!("{answer:?}");
        let script = Script::of([ok(HOST), answer]);
        let client = script.client();
        client.hosts().info(HostId(7)).await.unwrap();
        let error = client.hosts().allocate("h", "kvm", "kvm", ClusterId(0)).await.unwrap_err();
        assert!(error.is_unknown(), "{shown}: {error:?}");
        assert_eq!(script.count(), 2, "{shown}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_was_refused_is_known() {
    for answer in [refuse(8192, -1, "no"), gone(7), fault(-501), fault(-506), html(404), html(411)]
    {
        let shown = format!("{answer:?}");
        let script = Script::of([answer]);
        let error = rename(&script.client()).await.unwrap_err();
        assert!(!error.is_unknown(), "{shown}: {error:?}");
        assert_eq!(script.count(), 1, "{shown}");
    }
}

/// What servers of a front-end with several say while they have no leader (`src/rm/Request.cc` of 6.10,
/// `src/rm/xml-rpc/RequestXRPC.cc` of 7.4), and what a follower says that did not reach its leader.
const NOT_LED: [&str; 4] = [
    "[one.x] Cannot process request, no leader found",
    "[one.x] Cannot process request, oned cluster in election mode",
    "[one.x] Cannot process request, oned cluster is replicating log",
    "[one.x] libcurl failed to execute the HTTP POST transaction, explaining:  Failed to connect to \
     192.0.2.1 port 2633 after 0 ms: Connection refused",
];

/// What a follower says that handed a call to its leader and has no answer.
const HANDED_ON: [&str; 3] = [
    "[one.x] RPC call timed out and aborted",
    "[one.x] libcurl failed to execute the HTTP POST transaction, explaining:  Empty reply from server",
    "[one.x] HTTP response code is 502, not 200",
];

#[tokio::test(start_paused = true)]
async fn an_election_is_waited_for_as_a_restart_is_by_reads_and_writes() {
    for text in NOT_LED {
        let script = Script::by(move |_| refuse(8192, -1, text));
        let client = script.client();
        let begun = Instant::now();
        let error = rename(&client).await.unwrap_err();
        assert!(error.is_transient() && !error.is_unknown(), "{text}: {error:?}");
        assert_eq!(begun.elapsed(), Duration::from_secs(600), "{text}");

        let no_leader = || refuse(8192, -1, text);
        let script = Script::of([no_leader(), no_leader(), ok(7), no_leader(), ok(HOST)]);
        let client = script.client();
        rename(&client).await.unwrap();
        client.hosts().info(HostId(7)).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_follower_handed_on_without_an_answer_may_have_been_executed() {
    for text in HANDED_ON {
        let lost = || refuse(8192, -1, text);
        let script = Script::of([lost(), lost(), lost(), ok(HOST)]);
        let client = script.client();
        let error = rename(&client).await.unwrap_err();
        assert!(error.is_unknown() && error.is_transient(), "{text}: {error:?}");
        assert_eq!(script.count(), 1, "{text}");
        client.hosts().info(HostId(7)).await.unwrap();
    }
    // Only a server speaks so of itself: with another code it is a refusal like any other.
    let script = Script::of([refuse(2048, -1, HANDED_ON[0])]);
    let error = rename(&script.client()).await.unwrap_err();
    assert!(!error.is_unknown() && !error.is_transient(), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_wrong_password_is_told_at_once() {
    let script = Script::of([bad_login()]);
    let error = script.client().hosts().pool().await.unwrap_err();
    assert!(error.is_authentication() && !error.is_transient(), "{error:?}");
    assert_eq!(script.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_login_that_worked_and_fails_for_good_ends_after_a_minute() {
    let calls = AtomicUsize::new(0);
    let script = Script::by(move |_| match calls.fetch_add(1, Ordering::Relaxed) {
        0 => ok(HOST),
        _ => bad_login(),
    });
    let client = script.client();
    client.hosts().info(HostId(7)).await.unwrap();
    let begun = Instant::now();
    assert!(rename(&client).await.unwrap_err().is_authentication());
    assert_eq!(begun.elapsed(), Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn patience_has_an_end_and_is_short_before_the_first_answer() {
    for (answered_before, patience) in [(false, 10), (true, 600)] {
        let first = Mutex::new(answered_before);
        let script = Script::by(move |_| {
            if std::mem::take(&mut *first.lock().unwrap()) { ok(HOST) } else { not_sent() }
        });
        let client = script.client();
        if answered_before {
            client.hosts().info(HostId(7)).await.unwrap();
        }
        let begun = Instant::now();
        let error = rename(&client).await.unwrap_err();
        assert!(matches!(error.kind, ErrorKind::NotSent(_)) && error.is_transient(), "{error:?}");
        assert_eq!(begun.elapsed(), Duration::from_secs(patience));
        // Pauses grow to ten seconds, so there are not many attempts.
        assert!(script.count() < 150, "{}", script.count());
    }
}

#[tokio::test(start_paused = true)]
async fn without_patience_nothing_is_repeated() {
    let script = Script::of([maybe_sent()]);
    let client =
        script.client_with(ClientSettings { patience: Duration::ZERO, ..Default::default() });
    let error = client.hosts().pool().await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Unanswered(_)) && !error.is_unknown(), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_cannot_be_read_just_now_is_asked_for_again() {
    let pool = || refuse(1024, -1, "[one.hostpool.info] Error getting host Pool.");
    let script = Script::of([pool(), pool(), ok("<HOST_POOL></HOST_POOL>")]);
    assert_eq!(script.client().hosts().pool().await.unwrap(), []);
    // The same answer to a negative id is a mistake of the caller.
    let script = Script::of([pool()]);
    let error = script.client().hosts().info(HostId(-1)).await.unwrap_err();
    assert_eq!((error.code(), error.is_gone()), (Some(1024), false));
}

#[tokio::test(start_paused = true)]
async fn what_tls_or_a_wrong_address_says_is_not_waited_for() {
    let tls = Err(TransportError::Tls { hint: "a CA".to_owned(), source: "unknown issuer".into() });
    for answer in [tls, html(404), html(200), Err(TransportError::TooLarge { limit: 1 })] {
        let script = Script::of([answer]);
        script.client().hosts().pool().await.unwrap_err();
        assert_eq!(script.count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn calls_in_flight_are_limited_and_hosts_are_made_one_at_a_time() {
    let script = Script::slow(Duration::from_millis(50), |call| match call.method.as_str() {
        "one.host.allocate" => ok(7),
        _ => ok(HOST),
    });
    let client = script.client_with(ClientSettings { max_in_flight: 3, ..Default::default() });
    let spawn = |make: bool| {
        let hosts = client.hosts();
        tokio::spawn(async move {
            if make {
                hosts.allocate("h", "kvm", "kvm", ClusterId(0)).await.map(drop)
            } else {
                hosts.info(HostId(7)).await.map(drop)
            }
        })
    };
    let begun = Instant::now();
    for task in (0..12).map(|_| spawn(false)).collect::<Vec<_>>() {
        task.await.unwrap().unwrap();
    }
    assert_eq!((script.most_in_flight(), begun.elapsed().as_millis()), (3, 200));

    *script.in_flight.lock().unwrap() = (0, 0);
    for task in (0..4).map(|_| spawn(true)).collect::<Vec<_>>() {
        task.await.unwrap().unwrap();
    }
    assert_eq!(script.most_in_flight(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_call_holds_no_place() {
    let script = Script::by(|call| match call.method.as_str() {
        "one.host.info" => not_sent(),
        _ => ok("6.10.0"),
    });
    let client = script.client_with(ClientSettings { max_in_flight: 1, ..Default::default() });
    assert_eq!(client.system().version().await.unwrap(), "6.10.0");
    let waits = tokio::spawn({
        let hosts = client.hosts();
        async move { hosts.info(HostId(7)).await.map(drop) }
    });
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(client.system().version().await.unwrap(), "6.10.0");
    assert!(!waits.is_finished());
    waits.abort();
}

#[derive(Default)]
struct Seen(Mutex<Vec<String>>);

impl CallObserver for Seen {
    fn finished(&self, call: &CallRecord<'_>) {
        let line =
            format!("{} {:?} {} {}", call.method, call.effect, call.attempts, call.outcome.is_ok());
        self.0.lock().unwrap().push(line);
        assert!(!format!("{call:?}").contains("s3cret"), "{call:?}");
    }

    fn waiting(&self, wait: &Waiting<'_>) {
        assert!(!wait.pause.is_zero() && wait.pause <= Duration::from_millis(200 << wait.attempt));
        self.0.lock().unwrap().push(format!("waiting after {}", wait.attempt));
    }
}

#[tokio::test(start_paused = true)]
async fn an_observer_sees_each_call_and_each_wait() {
    let script = Script::of([ok("6.10.0"), maybe_sent(), maybe_sent(), ok("6.10.0"), gone(7)]);
    let seen = Arc::new(Seen::default());
    let client =
        Client::observed(script.clone(), credentials(), ClientSettings::default(), seen.clone());
    client.system().version().await.unwrap();
    client.system().version().await.unwrap();
    client.vnets().delete(VnetId(7)).await.unwrap_err();
    assert_eq!(
        *seen.0.lock().unwrap(),
        [
            "one.system.version Read 1 true",
            "waiting after 1",
            "waiting after 2",
            "one.system.version Read 3 true",
            "one.vn.delete Write 1 false",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_the_server_sends_back_is_masked() {
    let session = common::SESSION;
    let page = format!("who is {session}? s3cret-pass?");
    for answer in [
        refuse(2048, -1, &page),
        Ok(opennebula::xmlrpc::write_response(&opennebula::xmlrpc::MethodResponse::Fault {
            code: -501,
            text: page.clone(),
        })),
        Err(TransportError::NotOpenNebula { status: 404, excerpt: page.clone() }),
    ] {
        let client = Script::of([answer]).client();
        let error = rename(&client).await.unwrap_err();
        let mut shown = format!("{error} {error:?} {client:?}");
        let mut cause = error.source();
        while let Some(source) = cause {
            shown.push_str(&source.to_string());
            cause = source.source();
        }
        assert!(!shown.contains("s3cret") && shown.contains("*****"), "{shown}");
        assert!(shown.contains("http://script.test/RPC2") && shown.contains("one.host.rename"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_says_each_thing_once() {
    let error = rename(&Script::of([html(404)]).client()).await.unwrap_err();
    let mut lines = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(source) = cause {
        lines.push(source.to_string());
        cause = source.source();
    }
    assert_eq!(
        lines,
        [
            "one.host.rename at http://script.test/RPC2: this is not an OpenNebula front-end",
            "HTTP status 404 and not the answer of an OpenNebula front-end: a page",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn templates_are_sent_as_xml_and_keep_every_value() {
    let mut template = Attributes::new();
    template.push("NOTE", "ends in \\ and has ]] > <&> \"q\"\nline");
    template.vector_mut("PROVISION").push("TOKEN", Secret::new("tok"));
    let script = Script::of([ok(7), ok(7)]);
    let client = script.client();
    client.hosts().update(HostId(7), &template, Update::Append).await.unwrap();
    client.documents().allocate(&template, 4242).await.unwrap();
    let params = script.params(0);
    assert_eq!(params[2].as_i32(), Some(1));
    let xml = params[1].as_str().unwrap();
    let doc = roxmltree::Document::parse(xml).unwrap();
    let back = Attributes::from_xml(doc.root_element());
    assert_eq!(back.text("NOTE"), template.text("NOTE"));
    assert_eq!(back.text("PROVISION/TOKEN"), Some("tok"));
    assert_eq!(script.params(1)[1].as_i32(), Some(4242));

    for bad in ["\u{1}", "a]]>b", "\u{1F600}"] {
        template.set("BAD", bad);
        let error = client.hosts().update(HostId(7), &template, Update::Append).await.unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Attributes(_)) && !error.is_unknown());
    }
    let error = client.hosts().rename(HostId(7), "\u{1}").await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Unsendable(_)), "{error:?}");
    assert_eq!(script.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_another_kind_is_no_object() {
    for answer in [ok(7), ok("<CLUSTER/>"), ok("<HOST><NAME>x</NAME></HOST>"), ok("<HOST>"), ok("")]
    {
        let shown = format!("{answer:?}");
        let client = Script::of([answer]).client();
        let error = client.hosts().info(HostId(7)).await.unwrap_err();
        assert!(matches!(error.kind, ErrorKind::BadAnswer { .. }), "{shown}: {error:?}");
    }
    for answer in [
        ok("<HOST_POOL><HOST></HOST></HOST_POOL>"),
        ok("<HOST_POOL><HOST>"),
        ok("x"),
        ok("<VM_POOL/>"),
    ] {
        let client = Script::of([answer]).client();
        assert!(client.hosts().pool().await.is_err());
    }
}

fn vnet(state: i32) -> Answer {
    ok(format!("<VNET><ID>5</ID><NAME>n</NAME><STATE>{state}</STATE></VNET>"))
}

fn vnet_pool(ids: &[i32]) -> Answer {
    let nets: String =
        ids.iter().map(|id| format!("<VNET><ID>{id}</ID><STATE>1</STATE></VNET>")).collect();
    ok(format!("<VNET_POOL>{nets}</VNET_POOL>"))
}

fn wrong_state() -> Answer {
    refuse(2048, -1, "[one.vn.delete] Cannot delete virtual network. wrong state LOCK_CREATE")
}

async fn remove(answers: impl IntoIterator<Item = Answer>) -> (Result<(), Error>, Vec<String>) {
    let script = Script::of(answers);
    let client = script.client();
    let done = client.vnets().delete_and_wait(VnetId(5), Duration::from_secs(30)).await;
    let methods = script.methods().iter().map(|m| m.replace("one.", "")).collect();
    (done, methods)
}

#[tokio::test(start_paused = true)]
async fn a_network_is_removed_when_it_can_be_and_until_it_is_gone() {
    // Being made, ready, removed, still there, gone.
    let (done, methods) =
        remove([vnet(2), vnet(2), vnet(1), ok(5), vnet(3), gone(5), vnet_pool(&[0])]).await;
    done.unwrap();
    assert_eq!(
        methods,
        ["vn.info", "vn.info", "vn.info", "vn.delete", "vn.info", "vn.info", "vnpool.info"]
    );
    // It became locked between looking and removing.
    remove([vnet(1), wrong_state(), vnet(2), vnet(1), ok(5), gone(5), vnet_pool(&[])])
        .await
        .0
        .unwrap();
    // Nobody knows whether it was removed: look.
    remove([vnet(1), maybe_sent(), gone(5), vnet_pool(&[])]).await.0.unwrap();
    remove([vnet(1), maybe_sent(), vnet(1), ok(5), gone(5), vnet_pool(&[])]).await.0.unwrap();
    // Not there at all.
    remove([gone(5), vnet_pool(&[])]).await.0.unwrap();
    // "No such network", said by a busy database.
    remove([gone(5), vnet_pool(&[5]), ok(5), gone(5), vnet_pool(&[])]).await.0.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_network_that_cannot_be_removed_is_an_error() {
    let in_use =
        || refuse(2048, -1, "[one.vn.delete] Can not remove a virtual network with leases in use");
    let (done, methods) = remove([vnet(1), in_use(), vnet(1)]).await;
    assert!(done.unwrap_err().to_string().contains("leases in use"));
    assert_eq!(methods.len(), 3);
    let (done, _) = remove([vnet(1), refuse(512, -1, "not authorized")]).await;
    assert_eq!(done.unwrap_err().code(), Some(512));

    let script = Script::by(|_| vnet(2));
    let begun = Instant::now();
    let client = script.client();
    let error =
        client.vnets().delete_and_wait(VnetId(5), Duration::from_secs(30)).await.unwrap_err();
    assert!(
        error.to_string().ends_with("virtual network 5 is still LockCreate after 30 s"),
        "{error}"
    );
    assert!(begun.elapsed() <= Duration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn a_network_that_could_not_be_made_is_told_of_with_the_reason() {
    let error = "<TEMPLATE><ERROR><![CDATA[no such IPAM driver]]></ERROR></TEMPLATE>";
    let failed = ok(format!("<VNET><ID>5</ID><NAME>n</NAME><STATE>5</STATE>{error}</VNET>"));
    let client = Script::of([vnet(2), failed]).client();
    let error = client.vnets().usable(VnetId(5), Duration::from_secs(30)).await.unwrap_err();
    assert!(error.has_failed(), "{error:?}");
    assert!(error.to_string().ends_with("network 5: no such IPAM driver"), "{error}");
    let client = Script::of([vnet(2), vnet(1)]).client();
    client.vnets().usable(VnetId(5), Duration::from_secs(30)).await.unwrap();
    let client = Script::by(|_| vnet(2)).client();
    let error = client.vnets().usable(VnetId(5), Duration::from_secs(30)).await.unwrap_err();
    assert!(error.to_string().ends_with("5 is still LockCreate after 30 s"), "{error}");
}

/// `oned` that was killed in the middle of an action of an IPAM driver never hears of its end.
#[tokio::test(start_paused = true)]
async fn a_network_that_stays_locked_is_recovered_after_half_of_the_time() {
    for state in [0, 2, 3] {
        let script = Script::by({
            let recovered = Mutex::new(false);
            move |call| {
                let mut recovered = recovered.lock().unwrap();
                match call.method.as_str() {
                    "one.vn.recover" => {
                        assert_eq!(call.params[1..], [Param::Int(5), Param::Int(2)]);
                        *recovered = true;
                        ok(5)
                    }
                    "one.vn.info" if *recovered => gone(5),
                    "one.vn.info" => vnet(state),
                    "one.vnpool.info" => vnet_pool(&[]),
                    other => panic!("{other}"),
                }
            }
        });
        let begun = Instant::now();
        let client = script.client();
        client.vnets().delete_and_wait(VnetId(5), Duration::from_secs(30)).await.unwrap();
        let took = begun.elapsed();
        assert!(took >= Duration::from_secs(15) && took < Duration::from_secs(20), "{took:?}");
    }
    // It was about to be ready.
    let state = "Could not perform 'recover delete' on VN 5, wrong state READY.";
    let script = Script::by({
        let calls = Mutex::new((false, false));
        move |call| {
            let (refused, removed) = &mut *calls.lock().unwrap();
            match call.method.as_str() {
                "one.vn.recover" => {
                    *refused = true;
                    refuse(8192, -1, state)
                }
                "one.vn.delete" => {
                    *removed = true;
                    ok(5)
                }
                "one.vn.info" if *removed => gone(5),
                "one.vn.info" => vnet(if *refused { 1 } else { 2 }),
                _ => vnet_pool(&[]),
            }
        }
    });
    script.client().vnets().delete_and_wait(VnetId(5), Duration::from_secs(30)).await.unwrap();
}

fn image(state: i32) -> Answer {
    let error = "<TEMPLATE><ERROR><![CDATA[no space]]></ERROR></TEMPLATE>";
    ok(format!("<IMAGE><ID>5</ID><NAME>i</NAME><STATE>{state}</STATE>{error}</IMAGE>"))
}

/// Answers of a front-end whose image is in that state until it is removed with `force`; what the calls were.
async fn force(state: i32, refused: bool) -> (Result<(), Error>, Vec<bool>, Duration) {
    let forced = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&forced);
    let script = Script::by(move |call| {
        let mut seen = seen.lock().unwrap();
        match call.method.as_str() {
            "one.image.delete" => {
                seen.push(call.params.get(2) == Some(&Param::Bool(true)));
                match refused {
                    true => refuse(2048, -1, "There are 1 active clone operations."),
                    false => ok(5),
                }
            }
            "one.image.info" if seen.contains(&true) => gone(5),
            "one.image.info" => image(state),
            _ => ok("<IMAGE_POOL/>"),
        }
    });
    let begun = Instant::now();
    let client = script.client();
    let done = client.images().delete_and_wait(ImageId(5), Duration::from_secs(20)).await;
    let forced = forced.lock().unwrap().clone();
    (done, forced, begun.elapsed())
}

/// A copy that hangs, or whose end was lost with a restart of `oned`; a removal that its datastore refuses.
#[tokio::test(start_paused = true)]
async fn an_image_that_stays_locked_or_in_error_is_removed_by_force_after_half_of_the_time() {
    let (done, calls, took) = force(4, false).await;
    done.unwrap();
    assert_eq!(calls, [true]);
    assert!(took >= Duration::from_secs(10) && took < Duration::from_secs(20), "{took:?}");
    let (done, calls, _) = force(5, false).await;
    done.unwrap();
    assert_eq!((calls.first(), calls.last()), (Some(&false), Some(&true)));
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_being_cloned_is_waited_for() {
    let script = Script::of([
        image(1),
        refuse(2048, -1, "There are 1 active clone operations."),
        image(6),
        image(6),
        image(1),
        ok(5),
        gone(5),
        ok("<IMAGE_POOL/>"),
    ]);
    let client = script.client();
    client.images().delete_and_wait(ImageId(5), Duration::from_secs(20)).await.unwrap();
    // Without an end: the state is told, and nothing is forced.
    let (done, calls, _) = force(6, true).await;
    assert!(done.unwrap_err().to_string().contains("is still Clone after 20 s"));
    assert!(calls.is_empty());
}

#[tokio::test]
async fn a_pool_of_ten_thousand_hosts_is_read() {
    let filler = "x".repeat(2000);
    let hosts: String = (0..10_000)
        .map(|id| {
            format!(
                "<HOST><ID>{id}</ID><NAME>h{id}</NAME><STATE>2</STATE><CLUSTER_ID>0</CLUSTER_ID>\
                 <HOST_SHARE><MAX_CPU>400</MAX_CPU><RUNNING_VMS>{}</RUNNING_VMS></HOST_SHARE>\
                 <VMS><ID>1</ID></VMS><TEMPLATE><A><![CDATA[{filler}]]></A></TEMPLATE></HOST>",
                id % 3
            )
        })
        .collect();
    let script = Script::of([ok(format!("<HOST_POOL>{hosts}</HOST_POOL>"))]);
    let read = script.client().hosts().pool().await.unwrap();
    assert_eq!(read.len(), 10_000);
    let last = &read[9_999];
    assert_eq!(
        (last.id, last.running_vms, last.max_cpu, last.vms.len()),
        (HostId(9_999), 0, 400, 1)
    );
}

/// Breaks off in the middle of an answer, after a whole element and without an error of XML, and
/// answers then.
struct Breaking(AtomicUsize, Vec<u8>);

#[async_trait]
impl Transport for Breaking {
    fn endpoint(&self) -> &str {
        "http://breaking.test/RPC2"
    }

    async fn exchange(&self, _: &[u8], _: Duration) -> Answer {
        panic!("a pool is read in pieces")
    }

    async fn exchange_into(
        &self,
        _: &[u8],
        _: Duration,
        take: &mut Take<'_>,
    ) -> Result<(), TransportError> {
        let is_first = self.0.fetch_add(1, Ordering::Relaxed) == 0;
        for piece in self.1[..self.1.len() / if is_first { 2 } else { 1 }].chunks(1000) {
            take(piece);
        }
        if is_first { Err(TransportError::maybe_sent("reset")) } else { Ok(()) }
    }
}

fn long_pool(hosts: usize) -> String {
    let host = |id| format!("<HOST><ID>{id}</ID><NAME>h</NAME><A>{}</A></HOST>", "é".repeat(500));
    format!("<HOST_POOL>{}</HOST_POOL>", (0..hosts).map(host).collect::<String>())
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_breaks_off_in_its_middle_is_read_anew() {
    let transport = Arc::new(Breaking(AtomicUsize::new(0), ok(long_pool(1000)).unwrap()));
    let client = Client::new(transport.clone(), credentials(), ClientSettings::default());
    let even = |host: Host| (host.id.0 % 2 == 0).then_some(host.id.0);
    let read = client.hosts().pool_map(even).await.unwrap();
    assert_eq!(read, (0..1000).step_by(2).collect::<Vec<_>>());
    assert_eq!(transport.0.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_long_pool_that_is_not_whole_is_no_pool() {
    let pool = long_pool(200);
    // What the server itself wrote only half of is well-formed XML-RPC.
    for (text, what) in [
        (pool[..pool.len() - 12].to_owned(), "ends too early"),
        (pool.replacen("<HOST>", "<HOST", 1), "a closing tag that does not match"),
        (pool.replace("HOST_POOL", "VM_POOL"), "a HOST_POOL was expected"),
        (pool.replacen("<ID>7</ID>", "", 1), "a HOST without an ID"),
        (format!("<!DOCTYPE a []>{pool}"), "a document type"),
    ] {
        let script = Script::of([ok(text)]);
        let error = script.client().hosts().pool().await.unwrap_err();
        assert!(
            matches!(&error.kind, ErrorKind::BadAnswer { what: is } if is.contains(what)),
            "{error}"
        );
    }
    let broken = String::from_utf8(ok(pool).unwrap()).unwrap().replacen("&lt;", "&nbsp;", 1);
    let error = Script::of([Ok(broken.into_bytes())]).client().hosts().pool().await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::NotXmlRpc(_)), "{error}");
}

/// A host with names that libxml2 takes, and so `oned` has: no prefix of them is declared.
const COLONS: &str = "<HOST><ID>7</ID><NAME>a:b</NAME><TEMPLATE><FOO:BAR x='a:b'><![CDATA[<C:D>1:2</C:D>]]>\
    </FOO:BAR><V><A:B:C>x</A:B:C><:D/></V><X:ID>9</X:ID><LAST>z</LAST></TEMPLATE><X:ID>9</X:ID></HOST>";

#[tokio::test]
async fn a_name_with_a_colon_is_a_name_like_any_other() {
    let pool = format!("<HOST_POOL><HOST><ID>1</ID></HOST>{COLONS}</HOST_POOL>");
    let script = Script::of([ok(COLONS), ok(pool.as_str())]);
    let client = script.client();
    let alone = client.hosts().info(HostId(7)).await.unwrap();
    let mut hosts = client.hosts().pool().await.unwrap();
    assert_eq!(hosts.len(), 2);
    assert_eq!(hosts.pop().unwrap(), alone);
    assert_eq!((alone.id, alone.name.as_str()), (HostId(7), "a:b"));
    let names: Vec<&str> = alone.template.iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["FOO:BAR", "V", "X:ID", "LAST"]);
    assert_eq!(alone.template.text("FOO:BAR"), Some("<C:D>1:2</C:D>"));
    assert_eq!(alone.template.text("V/A:B:C"), Some("x"));
    assert_eq!(alone.template.text("V/:D"), Some(""));

    // What is broken stays so.
    for broken in [
        COLONS.replacen("</FOO:BAR>", "</FOO:BAZ>", 1),
        COLONS.replacen("<ID>7</ID>", "", 1),
        COLONS.replacen("</V>", "", 1),
        COLONS.replacen("</FOO:BAR>", "", 1),
    ] {
        let pool = format!("<HOST_POOL>{broken}</HOST_POOL>");
        let script = Script::of([ok(broken.as_str()), ok(pool)]);
        let client = script.client();
        assert!(client.hosts().info(HostId(7)).await.is_err(), "{broken}");
        assert!(client.hosts().pool().await.is_err(), "{broken}");
    }
}

#[tokio::test]
async fn permissions_are_nine_numbers_and_may_be_left_alone() {
    assert_eq!(Permissions::from_octal(0o751).octal(), 0o751);
    let script = Script::of([ok(5), ok(5), ok(5)]);
    let client = script.client();
    client.vnets().chmod(VnetId(5), Permissions::from_octal(0o642)).await.unwrap();
    let mut only_group_use = Permissions::UNCHANGED;
    only_group_use.0[3] = Some(true);
    client.vnets().chmod(VnetId(5), only_group_use).await.unwrap();
    client.vnets().chown(VnetId(5), None, Some(GroupId(1))).await.unwrap();
    let numbers = |index| script.params(index).iter().filter_map(Param::as_i32).collect::<Vec<_>>();
    assert_eq!(numbers(0), [5, 1, 1, 0, 1, 0, 0, 0, 1, 0]);
    assert_eq!(numbers(1), [5, -1, -1, -1, 1, -1, -1, -1, -1, -1]);
    assert_eq!(numbers(2), [5, -1, 1]);
}

#[tokio::test]
async fn any_method_can_be_called() {
    let script = Script::of([ok("<ZONE_POOL/>")]);
    let client = script.client();
    let answer = client.call(Effect::Read, "one.zonepool.info", vec![Param::Bool(true)]).await;
    assert_eq!(answer.unwrap().as_str(), Some("<ZONE_POOL/>"));
    assert_eq!(script.params(0), [Param::Bool(true)]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_back_is_unknown_and_what_is_not_there_is_not_stored() {
    let settings = || ClientSettings { patience: Duration::ZERO, ..Default::default() };
    let none = Attributes::new();
    for (read, unknown) in [(maybe_sent(), true), (ok(HOST), false)] {
        let mut answers = vec![ok(7), read];
        answers.extend((0..60).map(|_| ok(HOST)));
        let client = Script::of(answers).client_with(settings());
        let hosts = client.hosts();
        let stored = hosts.update_checked(HostId(7), &none, Update::Append, |_| false).await;
        let error = stored.unwrap_err();
        assert_eq!(error.is_unknown(), unknown, "{error:?}");
        assert_eq!(matches!(error.kind, ErrorKind::NotStored { .. }), !unknown, "{error:?}");
    }
}
