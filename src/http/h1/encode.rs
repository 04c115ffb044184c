//! A request's bytes (pure).

use ::http::{HeaderMap, Method, Uri};

/// The head of a request: its line, its headers and the empty line. Method, path and headers have been checked when
/// they were made: none of them can hold the end of a line.
pub fn head(method: &Method, uri: &Uri, headers: &HeaderMap) -> Vec<u8> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let names: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let mut bytes = Vec::with_capacity(method.as_str().len() + path.len() + names + 14);
    let mut add = |parts: &[&[u8]]| parts.iter().for_each(|part| bytes.extend_from_slice(part));
    add(&[method.as_str().as_bytes(), b" ", path.as_bytes(), b" HTTP/1.1\r\n"]);
    for (name, value) in headers {
        add(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
    }
    add(&[b"\r\n"]);
    bytes
}

#[cfg(test)]
mod tests {
    use ::http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn a_head_is_its_line_and_its_headers() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("host", "a:80"), ("x-Id", "1"), ("x-id", "2")] {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("valid");
            headers.append(name, HeaderValue::from_static(value));
        }
        let text = head(&Method::GET, &Uri::from_static("/a?b=c"), &headers);
        assert_eq!(text.escape_ascii().to_string(), r"GET /a?b=c HTTP/1.1\r\nhost: a:80\r\nx-id: 1\r\nx-id: 2\r\n\r\n");
        assert_eq!(text.capacity(), text.len(), "room is made once");
    }
}
