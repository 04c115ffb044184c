use super::*;

#[test]
fn a_request_has_its_authority_and_nothing_of_a_connection() {
    let request = Request::post("/a?b=c")
        .header("host", "name.test:8080")
        .header("connection", "close")
        .header("transfer-encoding", "chunked")
        .header("x-id", "1")
        .body(Bytes::from("body"))
        .expect("a request");
    let head = head(&request, false).expect("it is one");
    assert_eq!(head.uri(), "http://name.test:8080/a?b=c");
    assert_eq!(head.headers().iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["x-id"]);
}
