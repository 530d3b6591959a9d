//! HTTP/1.1 requests read as strictly as RFC 9112 lets one: what is not said in one way only is bad.

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The target, to the byte.
    pub target: Vec<u8>,
    /// Whether it is HTTP/1.0.
    pub is_old: bool,
    /// Names and values without the white space around them.
    pub fields: Vec<(String, Vec<u8>)>,
    /// The lines after a chunked body.
    pub trailers: Vec<Vec<u8>>,
    /// The body, without its coding.
    pub body: Vec<u8>,
    /// Whether the whole body was there.
    pub is_whole: bool,
}

/// What stands at the beginning of some bytes.
#[derive(Debug)]
pub enum Next {
    /// Nothing.
    Nothing,
    /// A request, and how many bytes it takes.
    Whole(Request, usize),
    /// The beginning of one; its head if that is whole.
    Cut(Option<Request>),
    /// Something else; the head if that was good and the body is not.
    Bad(Option<Request>),
}

/// Reads one request.
#[must_use]
pub fn next(bytes: &[u8]) -> Next {
    // RFC 9112 section 2.2: an empty line before a request is overlooked.
    let start = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
    let rest = &bytes[start..];
    if rest.is_empty() {
        return Next::Nothing;
    }
    let Some(end) = position(rest, b"\r\n\r\n") else { return Next::Cut(None) };
    let Some(mut request) = head(&rest[..end]) else { return Next::Bad(None) };
    let body_at = start + end + 4;
    let body = &bytes[body_at..];
    if request.values("transfer-encoding").next().is_some() {
        return match chunks(body, &mut request) {
            Progress::Done(used) => {
                request.is_whole = true;
                Next::Whole(request, body_at + used)
            }
            Progress::Cut => Next::Cut(Some(request)),
            Progress::Bad => Next::Bad(Some(request)),
        };
    }
    let length = request
        .values("content-length")
        .next()
        .map(|text| std::str::from_utf8(text).ok().and_then(|text| text.parse::<usize>().ok()));
    let length = match length {
        None => 0,
        Some(Some(length)) => length,
        Some(None) => return Next::Bad(None),
    };
    request.body = body[..length.min(body.len())].to_vec();
    request.is_whole = request.body.len() == length;
    if request.is_whole { Next::Whole(request, body_at + length) } else { Next::Cut(Some(request)) }
}

impl Request {
    /// The values of a field.
    pub fn values<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let named = move |(own, _): &&(String, Vec<u8>)| own.eq_ignore_ascii_case(name);
        self.fields.iter().filter(named).map(|(_, value)| value.as_slice())
    }

    /// The only value of a field.
    #[must_use]
    pub fn only(&self, name: &str) -> Option<&[u8]> {
        let mut values = self.values(name);
        values.next().filter(|_| values.next().is_none())
    }
}

fn head(head: &[u8]) -> Option<Request> {
    if head.len() > 32 * 1024 {
        return None;
    }
    let mut lines = lines(head)?.into_iter();
    let parts: Vec<&[u8]> = lines.next()?.split(|byte| *byte == b' ').collect();
    let [method, target, version] = parts.as_slice() else { return None };
    let is_old = match *version {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        _ => return None,
    };
    if !is_token(method) || target.is_empty() || target.len() > 8192 {
        return None;
    }
    let fields: Vec<_> = lines.map(field).collect::<Option<_>>()?;
    let request = Request {
        method: String::from_utf8(method.to_vec()).ok()?,
        target: target.to_vec(),
        is_old,
        fields,
        trailers: Vec::new(),
        body: Vec::new(),
        is_whole: false,
    };
    is_framed(&request).then_some(request)
}

fn is_framed(request: &Request) -> bool {
    let lengths: Vec<_> = request.values("content-length").collect();
    let codings: Vec<_> = request.values("transfer-encoding").collect();
    let hosts = request.values("host").count();
    let digits = |text: &&[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    request.fields.len() <= 100
        && (hosts == 1 || (request.is_old && hosts == 0))
        && lengths.len() + codings.len() <= 1
        && lengths.iter().all(digits)
        && codings.iter().all(|coding| coding.eq_ignore_ascii_case(b"chunked"))
        && !(request.is_old && !codings.is_empty())
        && request.values("expect").all(|option| option.eq_ignore_ascii_case(b"100-continue"))
}

enum Progress {
    Done(usize),
    Cut,
    Bad,
}

fn chunks(body: &[u8], request: &mut Request) -> Progress {
    let mut at = 0;
    loop {
        let Some(end) = position(&body[at..], b"\r\n") else { return Progress::Cut };
        let line = &body[at..at + end];
        let Some(size) = chunk_size(line) else { return Progress::Bad };
        at += end + 2;
        if size == 0 {
            break;
        }
        let Some(data) = at.checked_add(size).and_then(|to| body.get(at..to)) else {
            request.body.extend_from_slice(&body[at..]);
            return Progress::Cut;
        };
        request.body.extend_from_slice(data);
        at += size;
        match body.get(at..at + 2) {
            Some(b"\r\n") => at += 2,
            Some(_) => return Progress::Bad,
            None if b"\r\n".starts_with(&body[at..]) => return Progress::Cut,
            None => return Progress::Bad,
        }
    }
    loop {
        let Some(end) = position(&body[at..], b"\r\n") else { return Progress::Cut };
        let line = &body[at..at + end];
        at += end + 2;
        if line.is_empty() {
            return Progress::Done(at);
        }
        // They are thrown away, but what is no field could be something else to others.
        if field(line).is_none() {
            return Progress::Bad;
        }
        request.trailers.push(line.to_vec());
    }
}

/// RFC 9112 section 7.1; extensions are passed over as long as they are text.
fn chunk_size(line: &[u8]) -> Option<usize> {
    let digits = line.split(|byte| *byte == b';').next()?;
    if digits.is_empty() || digits.len() > 15 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let size = usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    is_text(line).then_some(size)
}

/// Lines that end in CRLF and hold neither.
fn lines(text: &[u8]) -> Option<Vec<&[u8]>> {
    let mut rest = text;
    let mut lines = Vec::new();
    while let Some(end) = position(rest, b"\r\n") {
        lines.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    lines.push(rest);
    lines.iter().all(|line| !line.iter().any(|b| matches!(b, b'\r' | b'\n' | 0))).then_some(lines)
}

fn field(line: &[u8]) -> Option<(String, Vec<u8>)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    let name = String::from_utf8(name.to_vec()).ok().filter(|name| is_token(name.as_bytes()))?;
    is_text(value).then(|| (name, value.trim_ascii().to_vec()))
}

fn is_text(text: &[u8]) -> bool {
    text.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control())
}

fn is_token(text: &[u8]) -> bool {
    let of_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(of_token)
}

fn position(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}
