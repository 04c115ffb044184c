//! What belongs to a user: captures, hooks, cookies, credentials, patience.

use super::{Bench, LOAD, OK, Reply, execute, told};
use crate::{
    load::{
        recorder::IterationEnd,
        user::{Model, Turn, User},
    },
    model::clock,
};

#[tokio::test(start_paused = true)]
async fn captures_belong_to_the_iteration_or_to_the_user_where_there_are_tasks() {
    let reply = |n: u64, _: &str| -> Reply { if n % 2 == 1 { (200, &[], r#"{"id": 7}"#) } else { OK } };
    let alone = Bench::new(
        &format!(
            "{LOAD}    steps: [{{get: /a, capture: {{id: {{json: $.id, required: false}}}}}}, {{get: /b, when: exists(id)}}]"
        ),
        |n, _| if n == 1 { (200, &[], r#"{"id": 7}"#) } else { OK },
    );
    alone.iterate(2).await;
    assert_eq!(alone.seen(), ["GET /a", "GET /b", "GET /a"], "the second iteration knows nothing of the first");
    let tasks = "    tasks:
      - {name: start, steps: [{get: /start, capture: {cid: {json: $.id}}}]}
      - {name: follow, needs: cid, steps: [{get: '/follow/${cid}'}]}";
    let bench = Bench::new(&format!("{LOAD}{tasks}"), reply);
    let (shared, mut user) = (&bench.shared, User::default());
    let needs = &shared.group.tasks[1].needs;
    assert!(!user.has(needs) && user.has(&[]));
    for task in [0, 1] {
        let turn = Turn { task, ..Turn::of(1, 1) };
        assert_eq!(shared.iterate(&turn, clock::mono(), &mut user, Model::Closed).await, IterationEnd::Completed);
        assert!(user.has(needs), "what a user was given stays with it");
    }
    assert_eq!(bench.seen(), ["GET /start", "GET /follow/7"]);
}

#[tokio::test(start_paused = true)]
async fn hooks_of_a_user_are_in_no_rate_and_one_that_fails_ends_the_user() {
    let scenario = |load: &str| {
        format!(
            "    load: {load}
    on_start: [{{post: /login, capture: {{tok: {{json: $.token}}}}}}]
    on_stop: [{{post: '/logout/${{tok}}/${{last}}'}}]
    steps: [{{get: '/a/${{tok}}', capture: {{last: {{json: $.token}}}}}}]"
        )
    };
    let login = |_: u64, line: &str| -> Reply {
        if line.contains("login") { (200, &[], r#"{"token": "t1"}"#) } else { (200, &[], r#"{"token": "t2"}"#) }
    };
    let bench = Bench::new(&scenario("{executor: per-vu-iterations, vus: 1, iterations: 2}"), login);
    let ran = execute(&bench).await;
    assert_eq!(bench.seen(), ["POST /login", "GET /a/t1", "GET /a/t1", "POST /logout/t1/t2"]);
    assert_eq!((told(&ran).as_str(), ran.hooks.ok, ran.hooks.failed), ("ok=2", 2, 0));
    let total = ran.total().latency[0].stats();
    assert!(total.max < 0.02, "logging in is in no latency: {total:?}");
    // The second user is turned away at the door.
    let turn_away = |n: u64, line: &str| -> Reply {
        if line.contains("login") && n == 2 { (401, &[], "") } else { (200, &[], r#"{"token": 1}"#) }
    };
    let bench =
        Bench::new(&scenario("{executor: per-vu-iterations, vus: 2, iterations: 3, start: together}"), turn_away);
    let ran = execute(&bench).await;
    assert_eq!((told(&ran).as_str(), ran.dropped(), ran.planned()), ("ok=3", 3, 6));
    assert_eq!((ran.hooks.ok, ran.hooks.failed), (2, 1));
    let (count, why) = bench.shared.recorder.lost_users().expect("one was lost");
    assert_eq!((count, why.as_str()), (1, "`POST /login` did not end ok (status): status 401 Unauthorized"));
}

#[tokio::test(start_paused = true)]
async fn each_user_has_its_own_cookies_and_credentials() {
    let scenario = "    load: {executor: per-vu-iterations, vus: 2, iterations: 1}
    cookies: per_vu
    steps:
      - {get: '/login/${vu}', auth: {basic: {username: 'u${vu}', password: '${vars.p}'}}, capture: {sid: {cookie: sid}}}
      - {get: '/a/${sid}', auth: {header: {x-user: '${vu}'}}}";
    let text = scenario.to_owned();
    let bench = Bench::new(&text.replace("${vars.p}", "${run_id}"), |_, line| match () {
        () if line.contains("/login/1") => {
            (200, &[("set-cookie", "sid=one; Path=/"), ("set-cookie", "lang=en; Path=/b")], "")
        }
        () if line.contains("/login/2") => (200, &[("set-cookie", "sid=two")], ""),
        () => OK,
    });
    execute(&bench).await;
    let mut seen = bench.seen();
    seen.sort();
    assert_eq!(
        seen,
        [
            "GET /a/one cookie: sid=one x-user: 1",
            "GET /a/two x-user: 2",
            "GET /login/1 authorization: Basic dTE6cg==",
            "GET /login/2 authorization: Basic dTI6cg==",
        ],
        "a cookie without a path belongs to the folder that set it"
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_gone_ends_its_iteration_and_its_user_goes_on() {
    let scenario = |network: &str| {
        format!(
            "{LOAD}    network: {network}\n    steps:\n      - {{get: /a, on: {{failed: {{retry: {{max: 3}}}}}}}}\n      \
             - {{get: /b, until: status == 200, every: 1s, timeout: 9s}}"
        )
    };
    let bench = Bench::new(&scenario("{abort: {share: 50%, after: 5ms}}"), |_, _| OK);
    let ends = bench.iterate(40).await;
    let data = bench.data();
    let counts = data.counts();
    let sent = bench.seen().len() as u64;
    assert_eq!((counts.interrupted, counts.failed), (sent / 2, 0), "each second request, and none is sent again");
    assert_eq!(counts.ok, sent - sent / 2);
    let gone = ends.iter().filter(|end| **end == IterationEnd::Gone).count() as u64;
    assert_eq!(gone, counts.interrupted, "{ends:?}");
    assert_eq!(data.all_iterations().counts.interrupted, gone);
    // Who is answered in time is not gone.
    let bench = Bench::new(&scenario("{abort: {share: 50%, after: 15ms}}"), |_, _| OK);
    bench.iterate(10).await;
    assert_eq!(told(&bench.data()), "ok=20");
}
