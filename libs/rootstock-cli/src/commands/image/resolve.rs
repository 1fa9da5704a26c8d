//! `rootstock image resolve`.

use rootstock_proto::catalog::v1::{HostFacts, ResolveImageRequest, ResolveImageResponse};

use crate::{
    client::Client,
    completion,
    failure::Failure,
    human,
    input::{TypeArgs, truth},
    output::{self, Format, Lines, Screen},
    table::{Column, Table},
    word::Word as _,
};

const EXAMPLES: &str = "\
Examples:
  rootstock image resolve debian/12                     what an instance would be made of
  rootstock image resolve --type container              the default container
  rootstock image resolve debian/12 --arch arm64
  rootstock image resolve win11 --vm --secureboot false --agent-disk
                                                        whether a host with these facts may start it";

/// Tell which version an instance is to be made of, and where its files are
///
/// Never waits for a remote. With facts of a host, the image's requirements are checked against them.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ResolveArgs {
    /// Name, alias, id, or fingerprint (or at least 12 characters of one) [default: the default image of --type]
    #[arg(value_name = "IMAGE", required_unless_present_any = ["image_type", "vm"], add = completion::images())]
    image: Option<String>,

    #[command(flatten)]
    image_type: TypeArgs,

    /// Only for this architecture: x86_64, amd64, …
    #[arg(long, visible_alias = "arch", value_name = "ARCH")]
    architecture: Option<String>,

    /// Number of the version [default: the current one, or the alias's or fingerprint's own]
    #[arg(long = "version", value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    number: Option<i32>,

    /// It is going to be used: moves its last use
    #[arg(long = "use")]
    record_use: bool,

    #[command(flatten)]
    facts: FactArgs,
}

/// What a host can do.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Facts of the host (one of them, and the requirements are checked)")]
struct FactArgs {
    /// Check the requirements, also with no other fact
    #[arg(long)]
    check: bool,

    /// Which cgroups it runs: v1 or v2
    #[arg(long, value_name = "VERSION", value_parser = ["v1", "v2"])]
    cgroup: Option<String>,

    /// The instance's nesting is on
    #[arg(long)]
    nesting: bool,

    /// The instance is privileged
    #[arg(long)]
    privileged: bool,

    /// Whether the virtual machine's secure boot is on [default: true]
    #[arg(long, value_name = "BOOL", value_parser = truth)]
    secureboot: Option<bool>,

    /// An agent:config disk is attached
    #[arg(long)]
    agent_disk: bool,

    /// A cloud-init:config disk is attached
    #[arg(long)]
    cloud_init_disk: bool,

    /// The instance was started before
    #[arg(long)]
    booted_before: bool,
}

impl FactArgs {
    fn facts(self) -> Option<HostFacts> {
        let facts = HostFacts {
            cgroup: self.cgroup.unwrap_or_default(),
            nesting: self.nesting,
            privileged: self.privileged,
            secureboot: self.secureboot,
            agent_disk: self.agent_disk,
            cloud_init_disk: self.cloud_init_disk,
            booted_before: self.booted_before,
        };
        (self.check || facts != HostFacts::default()).then_some(facts)
    }
}

pub(super) async fn run(client: &Client, format: Format, args: ResolveArgs) -> Result<(), Failure> {
    let request = ResolveImageRequest {
        image: args.image.unwrap_or_default(),
        r#type: args.image_type.wire().into(),
        architecture: args.architecture.unwrap_or_default(),
        version: args.number,
        host: args.facts.facts(),
        record_use: args.record_use,
    };
    let answer = client.call(client.images().resolve_image(request)).await?;
    output::print(format, &answer, |screen| text(&answer, screen))
}

fn text(answer: &ResolveImageResponse, screen: Screen) -> String {
    let image = answer.image.clone().unwrap_or_default();
    let version = answer.version.clone().unwrap_or_default();
    let mut lines = Lines::default();
    lines
        .add("image", &image.name)
        .add("id", &image.id)
        .add("type", image.r#type().word())
        .add("architecture", &image.architecture)
        .add("version", format!("{} ({})", version.number, version.serial))
        .add("fingerprint", &version.fingerprint)
        .add("size", human::size(version.size_bytes));
    for warning in &answer.warnings {
        lines.add("warning", warning);
    }
    let mut table = Table::new(&[
        Column::always("FILE"),
        Column::always("SIZE").right(),
        Column::always("PATH"),
    ]);
    for location in &answer.artifacts {
        let artifact = location.artifact.clone().unwrap_or_default();
        table.row([
            artifact.ftype,
            human::size(artifact.size_bytes),
            location.path.clone(),
        ]);
    }
    format!("{}\n{}", lines.render(), table.render(screen.width))
}

#[cfg(test)]
mod tests {
    use rootstock_proto::catalog::v1::{Artifact, ArtifactLocation, Image, ImageType, Version};
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_resolution_names_version_and_files() {
        let answer = ResolveImageResponse {
            image: Some(Image {
                id: "btavtegj1qm58qg7ru50".into(),
                name: "base".into(),
                r#type: ImageType::Container.into(),
                architecture: "x86_64".into(),
                ..Image::default()
            }),
            version: Some(Version {
                number: 3,
                serial: "20261122".into(),
                fingerprint: "ab12".into(),
                size_bytes: 2 << 20,
                ..Version::default()
            }),
            artifacts: vec![ArtifactLocation {
                artifact: Some(Artifact {
                    ftype: "squashfs".into(),
                    sha256: "cd34".into(),
                    size_bytes: 1 << 20,
                }),
                path: "blobs/sha256/cd34".into(),
            }],
            warnings: vec!["requirements.magic is not known".into()],
        };
        let screen = Screen {
            width: None,
            now: datetime!(2026-11-22 12:00 UTC),
        };
        assert_eq!(
            text(&answer, screen),
            "\
image:        base
id:           btavtegj1qm58qg7ru50
type:         container
architecture: x86_64
version:      3 (20261122)
fingerprint:  ab12
size:         2.00 MiB
warning:      requirements.magic is not known

FILE          SIZE  PATH
squashfs  1.00 MiB  blobs/sha256/cd34
"
        );
    }

    #[test]
    fn requirements_are_checked_when_a_fact_is_given() {
        #[derive(clap::Parser)]
        struct Flags {
            #[command(flatten)]
            facts: FactArgs,
        }
        let facts = |flags: &[&str]| {
            let words = std::iter::once(&"test").chain(flags);
            <Flags as clap::Parser>::parse_from(words).facts.facts()
        };
        assert_eq!(facts(&[]), None);
        assert_eq!(facts(&["--check"]), Some(HostFacts::default()));
        assert_eq!(
            facts(&["--secureboot", "off"]),
            Some(HostFacts {
                secureboot: Some(false),
                ..HostFacts::default()
            })
        );
    }
}
