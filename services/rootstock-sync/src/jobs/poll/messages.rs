//! A snapshot as messages of bounded size.

use std::mem;

use prost::Message as _;
use rootstock_model::{
    LeftOut, Reason,
    snapshot::{self, Snapshot},
};
use rootstock_proto::{
    catalog::v1 as catalog,
    convert::offered_image_to_wire,
    sync::v1::{
        Document, OfferedImage, SnapshotChunk, SnapshotHeader, SubmitSnapshotRequest,
        submit_snapshot_request::Part,
    },
};

/// A message is sent when it has this size, in bytes.
const CHUNK_BYTES: usize = 1 << 20;
/// What is larger by itself would be refused on the way (4 MiB is the limit of a message), and with
/// it all else.
const MAX_IMAGE_BYTES: usize = 3 << 20;

/// Documents as messages.
pub(super) fn of_documents(documents: Vec<snapshot::Document>) -> Vec<Document> {
    documents.into_iter().map(Into::into).collect()
}

/// The header, then all images and everything left out.
pub(super) fn of_snapshot(header: SnapshotHeader, snapshot: Snapshot) -> Vec<SubmitSnapshotRequest> {
    let mut chunks = Chunks {
        messages: vec![message(Part::Header(header))],
        ..Chunks::default()
    };
    let mut left_out = snapshot.left_out;
    for image in &snapshot.images {
        let offered = offered_image_to_wire(image);
        let bytes = offered.encoded_len();
        if bytes <= MAX_IMAGE_BYTES {
            chunks.image(offered, bytes);
        } else {
            left_out.push(LeftOut {
                product: image.product.to_string(),
                serial: String::new(),
                item: String::new(),
                reason: Reason::Malformed,
                message: format!(
                    "the product is too large to be recorded: {} versions",
                    image.versions.len()
                ),
            });
        }
    }
    for left_out in left_out {
        chunks.left_out(left_out.into());
    }
    chunks.finish()
}

#[derive(Default)]
struct Chunks {
    messages: Vec<SubmitSnapshotRequest>,
    chunk: SnapshotChunk,
    chunk_bytes: usize,
}

impl Chunks {
    fn image(&mut self, image: OfferedImage, bytes: usize) {
        self.make_room(bytes);
        self.chunk.images.push(image);
    }

    fn left_out(&mut self, left_out: catalog::LeftOut) {
        self.make_room(left_out.encoded_len());
        self.chunk.left_out.push(left_out);
    }

    fn make_room(&mut self, bytes: usize) {
        if self.chunk_bytes > 0 && self.chunk_bytes + bytes > CHUNK_BYTES {
            self.send();
        }
        self.chunk_bytes += bytes;
    }

    fn send(&mut self) {
        self.chunk_bytes = 0;
        self.messages
            .push(message(Part::Chunk(mem::take(&mut self.chunk))));
    }

    fn finish(mut self) -> Vec<SubmitSnapshotRequest> {
        if self.chunk_bytes > 0 {
            self.send();
        }
        self.messages
    }
}

fn message(part: Part) -> SubmitSnapshotRequest {
    SubmitSnapshotRequest { part: Some(part) }
}

#[cfg(test)]
mod tests {
    use rootstock_model::{
        Digest, ImageType, MetadataFtype,
        snapshot::{Artifact, Content, OfferedImage as Offered, OfferedVersion},
    };

    use super::*;

    fn offered(name: &str, versions: usize) -> Offered {
        let version = |number: usize| OfferedVersion {
            serial: format!("2026{number:08}"),
            label: String::new(),
            created_at: None,
            contents: vec![Content::Unified {
                image: Artifact {
                    ftype: MetadataFtype::IncusCombined,
                    sha256: Digest::of(name.as_bytes()),
                    size_bytes: 1,
                    path: format!("images/{}", "x".repeat(900)),
                },
            }],
        };
        Offered {
            product: name.parse().unwrap(),
            image_type: ImageType::Container,
            architecture: "amd64".parse().unwrap(),
            properties: Default::default(),
            aliases: vec![],
            support_eol: None,
            versions: (0..versions).map(version).collect(),
        }
    }

    fn left_out(product: &str) -> LeftOut {
        LeftOut {
            product: product.to_owned(),
            serial: String::new(),
            item: String::new(),
            reason: Reason::UnsafePath,
            message: "x".repeat(200),
        }
    }

    #[test]
    fn everything_is_sent_once_in_messages_of_bounded_size_behind_one_header() {
        let snapshot = Snapshot {
            images: (0..40)
                .map(|number| offered(&format!("p{number}"), 100))
                .collect(),
            left_out: (0..9000).map(|number| left_out(&number.to_string())).collect(),
        };
        let header = SnapshotHeader {
            lease: None,
            documents: vec![],
        };
        let messages = of_snapshot(header.clone(), snapshot);
        let mut parts = messages.into_iter().map(|message| message.part.unwrap());
        assert_eq!(parts.next(), Some(Part::Header(header)));
        let (mut products, mut notes, mut chunks) = (vec![], vec![], 0);
        for part in parts {
            assert!(
                part.encoded_len() <= CHUNK_BYTES + CHUNK_BYTES / 8,
                "{}",
                part.encoded_len()
            );
            let Part::Chunk(chunk) = part else {
                panic!("a second header")
            };
            products.extend(chunk.images.into_iter().map(|image| image.product));
            notes.extend(chunk.left_out.into_iter().map(|left_out| left_out.product));
            chunks += 1;
        }
        assert!(chunks > 4, "{chunks}");
        assert_eq!(
            products,
            (0..40).map(|number| format!("p{number}")).collect::<Vec<_>>()
        );
        assert_eq!(
            notes,
            (0..9000).map(|number| number.to_string()).collect::<Vec<_>>()
        );
    }

    #[test]
    fn an_image_beyond_the_limit_of_a_message_is_left_out_by_name() {
        let snapshot = Snapshot {
            images: vec![offered("huge", 4000), offered("good", 1)],
            left_out: vec![],
        };
        let messages = of_snapshot(SnapshotHeader::default(), snapshot);
        let [
            _,
            SubmitSnapshotRequest {
                part: Some(Part::Chunk(chunk)),
            },
        ] = &messages[..]
        else {
            panic!("{} messages", messages.len())
        };
        assert_eq!(chunk.images[0].product, "good");
        assert_eq!(chunk.left_out[0].product, "huge");
    }

    #[test]
    fn a_remote_that_offers_nothing_is_a_header_alone() {
        assert_eq!(
            of_snapshot(SnapshotHeader::default(), Snapshot::default()).len(),
            1
        );
    }
}
