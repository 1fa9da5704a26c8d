//! Findings for people and for programs.

use std::fmt::Write as _;

use rootstock_simplestreams::lint::{Code, Finding, Listed, Report, Severity};

use super::files::Seen;
use crate::{
    failure::Failure,
    human,
    output::{self, Format, Record},
    value::Value,
};

/// What was found in a tree.
struct Found<'a> {
    target: &'a str,
    report: &'a Report,
    seen: &'a Seen,
}

/// Prints what was found.
pub(super) fn print(format: Format, target: &str, report: &Report, seen: &Seen) -> Result<(), Failure> {
    // As CSV there is room for one kind of thing.
    if format == Format::Csv {
        return output::print_list(format, &report.findings, |_| String::new());
    }
    let found = Found { target, report, seen };
    output::print(format, &found, |_| text(report, seen))
}

impl Record for Found<'_> {
    const COLUMNS: &'static [&'static str] =
        &["target", "summary.errors", "summary.warnings", "summary.infos"];

    fn value(&self) -> Result<Value, Failure> {
        let Self { target, report, seen } = self;
        let listed = |listed: &Listed| {
            Value::fields([
                ("containers", listed.containers.into()),
                ("virtual_machines", listed.virtual_machines.into()),
            ])
        };
        let findings: Result<_, _> = report.findings.iter().map(Record::value).collect();
        let summary = Value::fields([
            ("incus", listed(&report.incus)),
            ("lxd", listed(&report.lxd)),
            ("files_named", report.files.len().into()),
            ("files_found", seen.files.into()),
            ("bytes_read", seen.bytes.into()),
            ("errors", report.count(Severity::Error).into()),
            ("warnings", report.count(Severity::Warning).into()),
            ("infos", report.count(Severity::Info).into()),
        ]);
        Ok(Value::fields([
            ("target", (*target).into()),
            ("findings", Value::List(findings?)),
            ("summary", summary),
        ]))
    }
}

impl Record for Finding {
    const COLUMNS: &'static [&'static str] = &[
        "severity", "code", "minds", "document", "product", "serial", "item", "message",
    ];

    fn value(&self) -> Result<Value, Failure> {
        Ok(Value::fields([
            ("severity", self.code.severity().as_str().into()),
            ("code", self.code.as_str().into()),
            ("minds", self.minds.iter().map(|minds| minds.as_str()).collect()),
            ("document", self.place.document.as_str().into()),
            ("product", self.place.product.as_str().into()),
            ("serial", self.place.serial.as_str().into()),
            ("item", self.place.item.as_str().into()),
            ("message", self.message().into()),
        ]))
    }
}

/// What it costs and what to do once per code, then each place.
fn text(report: &Report, seen: &Seen) -> String {
    let mut text = String::new();
    let mut last: Option<Code> = None;
    for finding in &report.findings {
        let code = finding.code;
        if last != Some(code) {
            // Writing into a String cannot fail.
            let _ = writeln!(
                text,
                "{} {}: {}; {}",
                code.severity().as_str(),
                code,
                code.cost(),
                code.remedy()
            );
            last = Some(code);
        }
        let minds: Vec<&str> = finding.minds.iter().map(|minds| minds.as_str()).collect();
        let place = finding.place.to_string();
        let gap = if place.is_empty() { "" } else { ": " };
        let _ = writeln!(text, "  {place}{gap}{} ({})", finding.detail, minds.join(", "));
    }
    if last.is_some() {
        text.push('\n');
    }
    for (client, listed) in [("Incus", report.incus), ("LXD", report.lxd)] {
        let _ = writeln!(
            text,
            "{client} lists {} and {}",
            count(listed.containers, "container"),
            count(listed.virtual_machines, "virtual machine")
        );
    }
    let files = count(report.files.len(), "file");
    let _ = match (seen.files, seen.bytes) {
        (0, 0) => writeln!(text, "{files} named"),
        (found, 0) => writeln!(text, "{files} named, {found} found"),
        (found, bytes) => {
            let read = human::size(i64::try_from(bytes).unwrap_or(i64::MAX));
            writeln!(text, "{files} named, {found} found, {read} read")
        }
    };
    let [errors, warnings, infos] = Severity::ALL.map(|severity| report.count(severity));
    let _ = writeln!(
        text,
        "{}, {}, {}",
        count(errors, "error"),
        count(warnings, "warning"),
        count(infos, "remark")
    );
    text
}

fn count(number: usize, noun: &str) -> String {
    human::count(i64::try_from(number).unwrap_or(i64::MAX), noun)
}
