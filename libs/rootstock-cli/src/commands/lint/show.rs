//! Findings for people and for programs.

use std::fmt::Write as _;

use rootstock_simplestreams::lint::{Code, Finding, Listed, Report, Severity};
use serde::Serialize;

use super::{Failure, Format, files::Seen, human};
use crate::output::{self, Record};

#[derive(Debug, Serialize)]
struct LintRecord<'a> {
    target: &'a str,
    findings: Vec<FindingRecord<'a>>,
    summary: SummaryRecord,
}

#[derive(Debug, Serialize)]
struct FindingRecord<'a> {
    severity: &'static str,
    code: &'static str,
    minds: Vec<&'static str>,
    document: &'a str,
    product: &'a str,
    serial: &'a str,
    item: &'a str,
    message: String,
}

#[derive(Debug, Serialize)]
struct SummaryRecord {
    incus: ListedRecord,
    lxd: ListedRecord,
    files_named: usize,
    files_found: usize,
    bytes_read: u64,
    errors: usize,
    warnings: usize,
    infos: usize,
}

#[derive(Debug, Serialize)]
struct ListedRecord {
    containers: usize,
    virtual_machines: usize,
}

/// Prints what was found.
pub(super) fn print(format: Format, target: &str, report: &Report, seen: &Seen) -> Result<(), Failure> {
    let record = LintRecord {
        target,
        findings: report.findings.iter().map(FindingRecord::from).collect(),
        summary: SummaryRecord {
            incus: report.incus.into(),
            lxd: report.lxd.into(),
            files_named: report.files.len(),
            files_found: seen.files,
            bytes_read: seen.bytes,
            errors: report.count(Severity::Error),
            warnings: report.count(Severity::Warning),
            infos: report.count(Severity::Info),
        },
    };
    // As CSV there is room for one kind of thing.
    if format == Format::Csv {
        return output::print_list(format, &record.findings, |_| String::new());
    }
    output::print(format, &record, |_| text(report, seen))
}

impl Record for LintRecord<'_> {
    const COLUMNS: &'static [&'static str] =
        &["target", "summary.errors", "summary.warnings", "summary.infos"];
}

impl Record for FindingRecord<'_> {
    const COLUMNS: &'static [&'static str] = &[
        "severity", "code", "minds", "document", "product", "serial", "item", "message",
    ];
}

impl<'a> From<&'a Finding> for FindingRecord<'a> {
    fn from(finding: &'a Finding) -> Self {
        Self {
            severity: finding.code.severity().as_str(),
            code: finding.code.as_str(),
            minds: finding.minds.iter().map(|minds| minds.as_str()).collect(),
            document: &finding.place.document,
            product: &finding.place.product,
            serial: &finding.place.serial,
            item: &finding.place.item,
            message: finding.message(),
        }
    }
}

impl From<Listed> for ListedRecord {
    fn from(listed: Listed) -> Self {
        let Listed {
            containers,
            virtual_machines,
        } = listed;
        Self {
            containers,
            virtual_machines,
        }
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
