//! Everything that can be found: the one table of codes, which `docs/lint.md` repeats.

use std::fmt;

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Something published cannot be listed or fetched by somebody who should.
    Error,
    /// It works, and not as well as it should, or not for everybody.
    Warning,
    /// Worth knowing.
    Info,
}

/// Whom a finding costs something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Minds {
    /// Incus, client and daemon.
    Incus,
    /// LXD, client and daemon.
    Lxd,
    /// Rootstock, when it mirrors the server.
    Rootstock,
    /// Other tools: mirrors, stores that do not tell case, other readers of simplestreams.
    Others,
}

impl Severity {
    /// All, the gravest first.
    pub const ALL: [Self; 3] = [Self::Error, Self::Warning, Self::Info];

    /// `error`, `warning` or `info`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

impl Minds {
    /// `incus`, `lxd`, `rootstock` or `others`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Incus => "incus",
            Self::Lxd => "lxd",
            Self::Rootstock => "rootstock",
            Self::Others => "others",
        }
    }
}

macro_rules! codes {
    ($($severity:ident $code:ident $name:literal [$($minds:ident)*] $cost:literal $remedy:literal;)*) => {
        /// What kind of thing was found. The names are stable: scripts filter by them. In the order of
        /// severity.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $cost] $code,)*
        }

        impl Code {
            /// All codes, the gravest first.
            pub const ALL: &'static [Self] = &[$(Self::$code,)*];

            /// The stable name.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$code => $name,)* }
            }

            /// How grave it is.
            pub const fn severity(self) -> Severity {
                match self { $(Self::$code => Severity::$severity,)* }
            }

            /// Whom it costs something, at most.
            pub const fn minds(self) -> &'static [Minds] {
                match self { $(Self::$code => &[$(Minds::$minds,)*],)* }
            }

            /// What it costs.
            pub const fn cost(self) -> &'static str {
                match self { $(Self::$code => $cost,)* }
            }

            /// What to do.
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$code => $remedy,)* }
            }
        }
    };
}

codes! {
    // The remote as a whole.
    Error MissingDocument "missing-document" [Incus Lxd Rootstock]
        "clients cannot use the remote at all" "publish the document, or check the URL: it is the base of the tree";
    Error NotJson "not-json" [Incus Lxd Rootstock]
        "clients cannot use the remote at all" "publish valid JSON, and replace documents in one step";
    Error ByteOrderMark "byte-order-mark" [Incus Lxd]
        "clients cannot use the remote at all: their decoder refuses the mark" "write the file as UTF-8 without one";
    Error WrongType "wrong-type" [Incus Lxd]
        "clients cannot use the remote at all: one value of a wrong type spoils every product" "write the value in the type that is wanted";
    Error NoProductsFile "no-products-file" [Incus Lxd Rootstock]
        "clients list nothing" "name a products file whose datatype is image-downloads in the index";
    Error RootstockRefusesDocument "rootstock-refuses-document" [Rootstock]
        "Rootstock cannot mirror this document, though Incus and LXD do not look" "publish what it asks for";
    Error EmptyProductsList "empty-products-list" [Incus Lxd]
        "clients skip the products file with every image in it" "list the products of the file in the entry's products";
    Error BasenameClash "basename-clash" [Incus Lxd]
        "clients cache both under one name and read one for the other" "give each products file a name of its own";
    Error ProductsFileIsIndex "products-file-is-index" [Incus Lxd Rootstock]
        "clients find no products there" "name the products file";
    Error TlsTooOld "tls-too-old" [Incus Lxd]
        "clients cannot connect at all: they want TLS 1.3" "turn TLS 1.3 on at the server";
    // Paths.
    Error PathLeavesTree "path-leaves-tree" [Incus Lxd Rootstock]
        "clients fetch another file than the one named, and Rootstock leaves it out" "write a plain path below the tree's root";
    Error PathIsUrl "path-is-url" [Incus Lxd Rootstock]
        "clients join it to the remote's URL, where there is nothing" "write a path below the tree's root, and let the server redirect";
    Error PathWithQuery "path-with-query" [Incus Lxd Rootstock]
        "clients escape ? and #, and ask for a file that has them in its name" "write a plain path, and let the server redirect";
    Error PathAbsolute "path-absolute" [Rootstock]
        "Rootstock leaves it out; Incus and LXD read it below the remote's URL" "write the path without the slash at its start";
    Error PathNotPlain "path-not-plain" [Incus Lxd Rootstock]
        "it names no file that a client could fetch, or hides which one" "write a plain path below the tree's root";
    Error PathAmongIndexes "path-among-indexes" [Rootstock]
        "a mirror that follows it overwrites its own index, so Rootstock leaves it out" "keep images outside of streams/";
    Error ConflictingFile "conflicting-file" [Incus Lxd Rootstock]
        "one of the two cannot be fetched: clients see other bytes than they were told" "give each content a path of its own";
    // Images.
    Error UnknownArchitecture "unknown-architecture" [Incus Lxd Rootstock]
        "clients do not list the product" "write an architecture that they know, such as amd64 or arm64";
    Error SerialNotADate "serial-not-a-date" [Incus Lxd]
        "clients do not list the version" "begin the serial with the date, YYYYMMDD";
    Error MissingFtype "missing-ftype" [Incus Lxd]
        "clients ignore the item; they inherit nothing from the product" "write the ftype into every item";
    Error RootWithoutMetadata "root-without-metadata" [Incus Lxd Rootstock]
        "clients list no image of this version" "publish an incus.tar.xz and an lxd.tar.xz item beside the root";
    Error MetadataWithoutRoot "metadata-without-root" [Incus Lxd Rootstock]
        "clients list no image of this version" "publish a squashfs, root.tar.xz or disk-kvm.img beside the metadata";
    Error MissingCombinedHash "missing-combined-hash" [Incus Lxd]
        "clients do not list the image" "write the SHA-256 of metadata and root, one after the other, into the metadata item";
    Error BadCombinedHash "bad-combined-hash" [Incus Lxd]
        "clients list the image and cannot fetch it" "write the SHA-256 of metadata and root in 64 lower-case hex characters";
    Error TwinDiffers "twin-differs" [Incus Lxd Rootstock]
        "one of the two families cannot fetch the image" "write the same fingerprints into both metadata items";
    Error DuplicateFingerprint "duplicate-fingerprint" [Incus Lxd]
        "clients can fetch neither: more than one image matches the fingerprint, by alias too" "list each image once";
    Error MissingPath "missing-path" [Incus Lxd Rootstock]
        "clients cannot fetch the file" "write the file's path into the item";
    Error MissingSha256 "missing-sha256" [Incus Lxd Rootstock]
        "clients cannot fetch the file: nothing matches a hash that is empty" "write the file's SHA-256 into the item";
    Error BadSha256 "bad-sha256" [Incus Lxd Rootstock]
        "clients cannot fetch the file: no hash is equal to this text" "write the file's SHA-256 in 64 hex characters";
    Error UpperCaseHash "upper-case-hash" [Incus Lxd]
        "clients list the image and cannot fetch it: they compare texts" "write hashes in lower case";
    Error BadSize "bad-size" [Lxd Rootstock]
        "LXD reads no more than the size says, and Rootstock leaves the file out" "write the file's exact size in bytes";
    Error RootstockLeavesOut "rootstock-leaves-out" [Rootstock]
        "Rootstock does not mirror it, though Incus and LXD do not mind" "change what it names";
    // Files.
    Error MissingFile "missing-file" [Incus Lxd Rootstock]
        "the image is listed and cannot be fetched" "publish files before the index, and remove them hours after";
    Error UnreadableFile "unreadable-file" [Incus Lxd Rootstock]
        "the image is listed and cannot be fetched" "look at the server's answer";
    Error WrongSize "wrong-size" [Lxd Rootstock]
        "LXD reads no more than the size says, and Rootstock does not store it" "write the file's exact size into the item";
    Error WrongHash "wrong-hash" [Incus Lxd Rootstock]
        "the image is listed and cannot be fetched: its bytes are others" "publish the file anew, and then its hash";
    Error WrongFingerprint "wrong-fingerprint" [Incus Lxd Rootstock]
        "the image is listed and cannot be fetched: the fingerprint is another" "write the SHA-256 of metadata and root, one after the other, into the metadata item";
    Error ContentEncoding "content-encoding" [Incus Lxd Rootstock]
        "clients unpack what comes and find another hash" "send files as they are, without Content-Encoding";

    Warning NotHttps "not-https" [Incus Lxd]
        "clients refuse to add a remote whose URL is not https" "serve the tree over HTTPS too";
    Warning LxdOnly "lxd-only" [Incus]
        "Incus does not list it" "publish an incus.tar.xz item beside lxd.tar.xz, with the same path and hashes";
    Warning IncusOnly "incus-only" [Lxd]
        "LXD does not list it" "publish an lxd.tar.xz item beside incus.tar.xz, with the same path and hashes";
    Warning NoVersions "no-versions" [Incus Lxd Rootstock]
        "clients list nothing of the product" "publish a version, or take the product away";
    Warning BadAlias "bad-alias" [Incus Lxd]
        "clients do not trim aliases: nobody finds the image under the name that was meant" "separate aliases by single commas, without spaces";
    Warning DuplicateAlias "duplicate-alias" [Incus Lxd Rootstock]
        "clients give the name to one of the products only" "let each alias belong to one product of a type and an architecture";
    Warning MixedSerialWidths "mixed-serial-widths" [Incus Lxd]
        "clients sort serials as texts: aliases may not name the newest version" "write the serials of a product in one format";
    Warning BadSupportEol "bad-support-eol" [Incus Lxd Rootstock]
        "the image has no expiry date" "write the date as YYYY-MM-DD";
    Warning UnknownRequirement "unknown-requirement" [Incus Lxd Rootstock]
        "nobody enforces it" "write one of cdrom_agent, cdrom_cloud_init, cgroup, nesting, privileged, secureboot";
    Warning BadRequirement "bad-requirement" [Incus Lxd Rootstock]
        "nobody enforces it" "write \"true\" or \"false\" (\"v1\" for cgroup)";
    Warning LxdRequirementsOnly "lxd-requirements-only" [Incus]
        "Incus does not see these requirements: instances fail at start instead of being refused" "write the same map as requirements";
    Warning VmDelta "vm-delta" [Incus]
        "Incus may apply it to a container's root, and then the download fails" "publish deltas of squashfs only";
    Warning UnifiedVirtualMachine "unified-virtual-machine" [Incus Lxd]
        "LXD, and Incus before 7.1, take it for a container" "publish virtual machines as incus.tar.xz and disk-kvm.img";
    Warning PathDoubleSlash "path-double-slash" [Others]
        "clients ask for it with one slash, which an object store takes for another name" "write single slashes";
    Warning CaseCollision "case-collision" [Others]
        "the two overwrite each other where case does not count" "let paths differ by more than case";
    Warning ListedProductMissing "listed-product-missing" [Rootstock Others]
        "tools that go by the list find it missing; Incus and LXD do not look" "make the index say what the products file holds";
    Warning RootstockIgnoresTag "rootstock-ignores-tag" [Rootstock]
        "Rootstock mirrors the product without it" "change what it names";

    Info SkippedEntry "skipped-entry" [Incus Lxd Rootstock]
        "clients skip the entry" "nothing, if it is not for instances";
    Info UnlistedProduct "unlisted-product" [Others]
        "tools that go by the index's list miss it; Incus, LXD and Rootstock do not look" "list it in the index";
    Info NoAliases "no-aliases" [Incus Lxd]
        "its images can only be asked for by fingerprint" "give the product aliases";
    Info NoInstanceFiles "no-instance-files" [Incus Lxd Rootstock]
        "clients list no image of this version" "nothing, if it is not for instances";
    Info DeltaWithoutBase "delta-without-base" [Incus Lxd]
        "clients do not use the delta" "take it away with its base";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_names_for_scripts_in_the_order_of_severity() {
        let mut seen = std::collections::BTreeSet::new();
        for code in Code::ALL {
            let name = code.as_str();
            assert!(seen.insert(name), "{name} is there twice");
            assert!(
                name.chars()
                    .all(|c| c == '-' || c.is_ascii_lowercase() || c.is_ascii_digit()),
                "{name}"
            );
            assert!(!code.minds().is_empty(), "{name}");
            assert!(
                !code.cost().ends_with('.') && !code.remedy().ends_with('.'),
                "{name}"
            );
        }
        assert!(Code::ALL.is_sorted_by_key(|code| code.severity()));
    }
}
