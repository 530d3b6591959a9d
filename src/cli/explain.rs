//! `portcullis explain`: which routes were candidates, which won and why, what is missing, what the upstream would see.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use http::{HeaderMap, Uri};

use crate::access::denial::{Denial, DenialKind};
use crate::cli::output::{out, outln};
use crate::cli::{INVALID, check, print_problems, read};
use crate::config::Persona;
use crate::gateway::Gateway;
use crate::gateway::decide::{Decision, Permit, RequestHead};
use crate::gateway::dry_run::{DryRun, SimulatedRequest};
use crate::gateway::routing::{BadPath, Remedy};
use crate::oauth::scope::{Catalogue, Scope};
use crate::reason::Reason;
use crate::route::certificate::CertificateName;
use crate::route::rule::{AccessRule, Requirement, TrustedIssuers};

/// What to explain.
#[derive(Debug, Args)]
pub(super) struct Explain {
    /// The configuration.
    #[arg(short, long, value_name = "FILE", required_unless_present = "reason")]
    config: Option<PathBuf>,
    /// The method.
    #[arg(required_unless_present = "reason")]
    method: Option<String>,
    /// A URL, or a path for the first of `tokens.hosts`.
    #[arg(required_unless_present = "reason")]
    url: Option<String>,
    /// Only say what this reason of the access log and the metrics means.
    #[arg(long, value_name = "ID", exclusive = true, value_parser = reason())]
    reason: Option<Reason>,
    /// Ask as this user of the user file, with everything the user may have.
    #[arg(long, group = "who")]
    user: Option<String>,
    /// Ask as a user with these scopes, separated by spaces.
    #[arg(long, group = "who")]
    scopes: Option<String>,
    /// Ask with the token in this file.
    #[arg(long, group = "who", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Ask with a client certificate of this name: `dns:…`, `uri:…`, `email:…` or `cn:…`.
    #[arg(long, value_name = "NAME")]
    certificate: Option<String>,
}

impl Explain {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        if let Some(reason) = self.reason {
            outln!("{}", reason.explanation());
            return Ok(ExitCode::SUCCESS);
        }
        let (Some(config), Some(method), Some(url)) = (&self.config, &self.method, &self.url)
        else {
            bail!("a configuration, a method and a URL are needed");
        };
        let read = read(config);
        let Some(config) = read.config else {
            print_problems(&read.problems, &read.warnings);
            return Ok(ExitCode::from(INVALID));
        };
        let dry_run = DryRun::new(&check::snapshot(config)?)?;
        let token = match &self.token_file {
            Some(file) => {
                let text = std::fs::read_to_string(file);
                Some(text.with_context(|| file.display().to_string())?.trim().to_owned())
            }
            None => dry_run.token(&self.persona(url)?)?,
        };
        let certificate = self.certificate.as_deref().map(CertificateName::parse).transpose()?;
        let request =
            SimulatedRequest { method, target: url, host: None, certificate: certificate.as_ref() };
        let (text, allowed) = dry_run.run(&request, token.as_deref(), describe)?;
        out(format_args!("{text}"));
        Ok(if allowed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn persona(&self, url: &str) -> anyhow::Result<Persona> {
        let before_query = url.split('?').next().unwrap_or_default();
        if before_query.parse::<Uri>().is_err() && !url.starts_with('/') {
            bail!("`{url}` is neither a URL nor a path");
        }
        Ok(match (&self.user, &self.scopes) {
            (Some(name), _) => Persona::User(name.clone()),
            (None, Some(scopes)) => Persona::Scopes(Scope::parse(scopes)?),
            (None, None) => Persona::Anonymous,
        })
    }
}

/// Reads the id of a reason.
fn reason() -> impl TypedValueParser<Value = Reason> {
    let known = PossibleValuesParser::new(Reason::ALL.map(Reason::id));
    known.try_map(|id| Reason::parse(&id).ok_or("no such reason"))
}

/// The whole explanation, and whether the request passes.
fn describe(head: &RequestHead<'_>, gateway: &Gateway, decision: Decision) -> (String, bool) {
    let mut lines = Vec::new();
    let candidates = gateway.candidates(head);
    if !candidates.is_empty() {
        lines.push("routes that cover this host and path, the most specific first:".to_owned());
    }
    for route in &candidates {
        let mut rule = rule(&route.rule, gateway.catalogue());
        if route.trusted != TrustedIssuers::default() {
            rule = format!("{rule}, of {}", route.trusted);
        }
        if let Some(certificate) = &route.certificate {
            rule = format!("{rule}, with a certificate of {certificate}");
        }
        let covered =
            if route.methods.contains(head.method) { "" } else { " (not for this method)" };
        lines.push(format!(
            "  {}  {}{}  {}  {rule}{covered}",
            route.id, route.host, route.path, route.methods
        ));
    }
    let allowed = match &decision {
        Decision::Serve(endpoint) => {
            lines.push(format!("served by portcullis itself: {endpoint:?}"));
            true
        }
        Decision::Refuse(denial) => {
            refused(denial, &mut lines);
            lines.extend(
                gateway.bad_path(head).into_iter().flat_map(|(why, remedy)| bad_path(&why, remedy)),
            );
            false
        }
        Decision::Forward(permit) => {
            forwarded(permit, head, &mut lines);
            true
        }
    };
    (lines.join("\n") + "\n", allowed)
}

fn rule(rule: &AccessRule, catalogue: &Catalogue) -> String {
    match rule {
        AccessRule::Public => "public".to_owned(),
        AccessRule::Optional => "optional".to_owned(),
        AccessRule::Required(Requirement::Authenticated) => "required: any user".to_owned(),
        AccessRule::Required(Requirement::All(bits)) => {
            format!("required: all of {}", catalogue.scope(*bits))
        }
        AccessRule::Required(Requirement::Any(bits)) => {
            format!("required: any of {}", catalogue.scope(*bits))
        }
    }
}

fn refused(denial: &Denial, lines: &mut Vec<String>) {
    let answer = denial.answer();
    let route = denial.route_id().map_or_else(String::new, |id| format!(" by route {id}"));
    lines.push(format!("refused{route}: {} {}", answer.status.as_u16(), denial.reason()));
    lines.push(format!("  {}", denial.reason().explanation()));
    lines.extend(denial.detail().map(|detail| format!("  detail: {detail}")));
    if let DenialKind::Scope(wanted) = denial.refusal() {
        let held = denial.token().map(|token| token.scope().to_string()).unwrap_or_default();
        lines.push(format!("  wanted: {wanted}"));
        lines.push(format!("  held:   {held}"));
    }
    lines.extend(fields(&answer.headers).map(|field| format!("  answer: {field}")));
}

/// Why the path is bad, and what the operator could say about it.
fn bad_path(why: &BadPath, remedy: Option<Remedy>) -> Vec<String> {
    let mut lines = vec![format!("  {why}")];
    if let Some(Remedy { allow, upstream }) = remedy {
        lines.push(format!(
            "  this path would pass with `paths.allow: {allow}` of upstream {upstream}"
        ));
    }
    lines
}

fn forwarded(permit: &Permit, head: &RequestHead<'_>, lines: &mut Vec<String>) {
    lines.push(format!(
        "forwarded by route {} to upstream {}",
        permit.route_id(),
        permit.upstream().name
    ));
    let target = permit.target();
    let target = std::str::from_utf8(target)
        .map_or_else(|_| target.escape_ascii().to_string(), str::to_owned);
    lines.push(format!("  {} {target}", head.method));
    lines.push(format!("  host: {}", permit.host()));
    let mut headers = HeaderMap::new();
    permit.edits().apply(&mut headers);
    lines.extend(fields(&headers).map(|field| format!("  {field}")));
}

fn fields(headers: &HeaderMap) -> impl Iterator<Item = String> {
    let line = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))
    };
    headers.iter().map(line)
}
