use crate::{
    load::flow::tests::{Bench, Reply},
    measure::data::{RunData, Series},
    model::outcome::Outcome,
};

const WHOLE: Reply = (
    200,
    &[("x-wait-ms", "250")],
    "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"!\"}}]}\n\ndata: [DONE]\n\n",
);
const CUT: Reply = (200, &[], "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n");
const FULL: Reply = (429, &[], "{\"error\":\"full\"}");

async fn measured(expect: &str, reply: Reply) -> (RunData, Series) {
    let scenario = format!(
        "    load: {{executor: per-vu-iterations, vus: 1, iterations: 1, max_duration: 1h}}
    metrics:
      quick: {{rate: \"ttft < 1s and tokens >= 2\"}}
      waited: {{trend: \"header['x-wait-ms']\", unit: ms}}
      never: {{rate: \"$.nothing == 1\"}}
    steps:
      - post: /chat
        stream: sse
        expect: [{expect}]"
    );
    let bench = Bench::new(&scenario, move |_, _| reply);
    bench.iterate(1).await;
    let data = bench.data();
    let total = data.total();
    (data, total)
}

#[tokio::test(start_paused = true)]
async fn a_whole_answer_is_measured() {
    let (data, total) = measured("tokens == 2, ttft < 1s", WHOLE).await;
    assert_eq!(total.counts().ok, 1, "{:?}", total.reasons);
    let stream = total.stream.expect("a stream");
    assert_eq!((stream.ttft.count(), stream.itl.count(), stream.tokens.max()), (1, 1, Some(2.0)));
    let (quick, waited) = (&data.custom.rates["quick"], &data.custom.trends["waited"]);
    assert_eq!(quick.values().collect::<Vec<_>>(), [&(1, 1)]);
    assert_eq!(waited.values().next().and_then(crate::measure::dist::Dist::max), Some(0.25));
    assert!(!data.custom.rates.contains_key("never"), "nothing that it looks at is there");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_whole_is_a_failure() {
    let (data, total) = measured("tokens >= 0", CUT).await;
    let reason = (Outcome::Failed, "protocol".into());
    assert_eq!(total.reasons.get(&reason), Some(&1), "{:?}", total.reasons);
    assert_eq!(total.stream.map(|stream| stream.ttft.count()), Some(0), "figures are of answers that ended ok");
    assert!(data.custom.is_empty(), "and so are custom metrics");
}

#[tokio::test(start_paused = true)]
async fn a_rejection_is_no_stream() {
    let (data, total) = measured("tokens >= 0", FULL).await;
    assert_eq!((total.counts().rejected, total.stream.is_none()), (1, true), "{:?}", total.reasons);
    assert!(data.custom.is_empty());
}
