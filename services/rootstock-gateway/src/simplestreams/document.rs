//! A document as it is handed out: its bytes, packed and plain, and what caches need to know.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use rootstock_model::Digest;
use rootstock_simplestreams::{INDEX_FRAME, PRODUCTS_FRAME};
use time::OffsetDateTime;

use super::{
    blocks::{Block, Items},
    gzip::{Envelope, Piece},
};
use crate::http::conditional::{Validators, http_date};

/// Which of the two documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `streams/v1/index.json`
    Index,
    /// `streams/v1/images.json`
    Products,
}

/// How the bytes of a document are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Plain,
    Gzip,
}

/// A document in both its forms. Cheap to clone: it consists of blocks that other revisions have as well.
#[derive(Debug, Clone)]
pub(crate) struct Document(Arc<Joined>);

#[derive(Debug)]
struct Joined {
    kind: Kind,
    blocks: Arc<[Arc<Block>]>,
    /// The first block, which no comma is before.
    first: Option<Piece>,
    plain: Form,
    gzip: Form,
}

/// What a document is in one encoding, the blocks aside.
#[derive(Debug)]
struct Form {
    head: Bytes,
    tail: Bytes,
    len_bytes: u64,
    validators: Validators,
}

impl Kind {
    fn items(self, block: &Block) -> &Items {
        match self {
            Self::Index => &block.names,
            Self::Products => &block.members,
        }
    }

    fn frame(self) -> [Piece; 2] {
        let frame = match self {
            Self::Index => &INDEX_FRAME,
            Self::Products => &PRODUCTS_FRAME,
        };
        [
            Piece::stored(frame.head.as_bytes(), false),
            Piece::stored(frame.tail.as_bytes(), true),
        ]
    }
}

impl Document {
    /// The document of these blocks. When its bytes are those of the document `before`, it is that one:
    /// same validators, so that nobody fetches it again.
    pub(super) fn new(
        kind: Kind,
        blocks: &Arc<[Arc<Block>]>,
        before: Option<&Self>,
        now: OffsetDateTime,
    ) -> Self {
        let [head, tail] = kind.frame();
        let first = blocks.first().map(|block| kind.items(block).first());
        let following = blocks.iter().skip(1).map(|block| kind.items(block).following());
        let pieces = || {
            [&head]
                .into_iter()
                .chain(&first)
                .chain(following.clone())
                .chain([&tail])
        };
        let len = |bytes: fn(&Piece) -> usize| pieces().map(|piece| bytes(piece) as u64).sum::<u64>();
        let etag = |head: &[u8], digest: fn(&Items) -> &Digest| {
            let mut named = head.to_vec();
            for block in blocks.iter() {
                named.extend_from_slice(digest(kind.items(block)).as_bytes());
            }
            Validators::etag_of(&Digest::of(&named))
        };
        let plain_etag = etag(&head.plain(), |items| &items.plain_digest);
        let gzip_etag = etag(&head.packed, |items| &items.packed_digest);
        if let Some(before) = before
            && before.form(Encoding::Plain).validators.etag == plain_etag
            && before.form(Encoding::Gzip).validators.etag == gzip_etag
        {
            return before.clone();
        }
        let modified = http_date(now);
        // A date is only as fine as a second: of two documents within one, the later goes without,
        // or clients that have the earlier would be told that it is current.
        let is_new = before.is_none_or(|before| {
            before.form(Encoding::Plain).validators.last_modified.as_ref() != Some(&modified)
        });
        let last_modified = Some(modified).filter(|_| is_new);
        let validators = |etag| Validators {
            etag,
            last_modified: last_modified.clone(),
        };
        let Envelope { header, trailer } = Envelope::of(pieces());
        let around = (header.len() + trailer.len()) as u64;
        let gzip = Form {
            head: [&header, &*head.packed].concat().into(),
            tail: [&*tail.packed, &trailer].concat().into(),
            len_bytes: len(|piece| piece.packed.len()) + around,
            validators: validators(gzip_etag),
        };
        let plain = Form {
            head: head.plain(),
            tail: tail.plain(),
            len_bytes: len(|piece| piece.plain_len),
            validators: validators(plain_etag),
        };
        Self(Arc::new(Joined {
            kind,
            blocks: Arc::clone(blocks),
            first,
            plain,
            gzip,
        }))
    }

    fn form(&self, encoding: Encoding) -> &Form {
        match encoding {
            Encoding::Plain => &self.0.plain,
            Encoding::Gzip => &self.0.gzip,
        }
    }

    pub(crate) fn validators(&self, encoding: Encoding) -> &Validators {
        &self.form(encoding).validators
    }

    /// How many bytes it has.
    pub(crate) fn len_bytes(&self, encoding: Encoding) -> u64 {
        self.form(encoding).len_bytes
    }

    /// Its bytes, as the body of an answer.
    pub(crate) fn body(&self, encoding: Encoding) -> DocumentBody {
        DocumentBody {
            document: self.clone(),
            encoding,
            next: 0,
            left: self.len_bytes(encoding),
        }
    }

    /// Its bytes are these, one after the other; `None` behind the last.
    fn segment(&self, encoding: Encoding, index: usize) -> Option<Bytes> {
        let Joined {
            kind, blocks, first, ..
        } = &*self.0;
        let bytes = |piece: &Piece| match encoding {
            Encoding::Plain => piece.plain(),
            Encoding::Gzip => piece.packed.clone(),
        };
        let form = self.form(encoding);
        match index.checked_sub(1) {
            None => Some(form.head.clone()),
            Some(0) if first.is_some() => first.as_ref().map(bytes),
            Some(block) if block < blocks.len() => blocks
                .get(block)
                .map(|block| bytes(kind.items(block).following())),
            Some(block) => (block == blocks.len()).then(|| form.tail.clone()),
        }
    }
}

/// A document on its way to a client. Its blocks are sent as they lie in memory.
#[derive(Debug)]
pub(crate) struct DocumentBody {
    document: Document,
    encoding: Encoding,
    next: usize,
    left: u64,
}

impl Body for DocumentBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let segment = self.document.segment(self.encoding, self.next);
        self.next += 1;
        if let Some(segment) = &segment {
            self.left = self.left.saturating_sub(segment.len() as u64);
        }
        Poll::Ready(segment.map(|segment| Ok(Frame::data(segment))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Read as _};

    use http_body_util::BodyExt as _;
    use time::macros::datetime;

    use super::*;
    use crate::simplestreams::blocks::{Blocks, Pool, Rendered};

    const NOW: OffsetDateTime = datetime!(2026-11-22 05:24:00.1 UTC);
    const SAME_SECOND: OffsetDateTime = datetime!(2026-11-22 05:24:00.9 UTC);

    /// The products file of products of these names.
    fn document(names: &[&str], before: Option<&Document>, now: OffsetDateTime) -> Document {
        let mut blocks = Blocks::default();
        let products: BTreeMap<_, _> = names
            .iter()
            .map(|name| {
                let rendered = Rendered {
                    name: format!("{name:?}").into(),
                    member: format!("{name:?}:{{}}").into(),
                };
                (Box::from(*name), Some(rendered))
            })
            .collect();
        blocks.apply(products, &mut Pool::new(usize::MAX)).unwrap();
        Document::new(Kind::Products, &blocks.as_slice().into(), before, now)
    }

    pub(crate) async fn bytes(document: &Document, encoding: Encoding) -> Vec<u8> {
        let bytes = document.body(encoding).collect().await.unwrap().to_bytes();
        assert_eq!(bytes.len() as u64, document.len_bytes(encoding));
        bytes.into()
    }

    #[tokio::test]
    async fn the_same_products_are_the_same_document_whenever_rendered() {
        let first = document(&["x"], None, NOW);
        let again = document(&["x"], Some(&first), NOW + time::Duration::HOUR);
        let elsewhere = document(&["x"], None, NOW + time::Duration::HOUR);
        for encoding in [Encoding::Plain, Encoding::Gzip] {
            assert_eq!(again.validators(encoding), first.validators(encoding));
            assert_eq!(
                elsewhere.validators(encoding).etag,
                first.validators(encoding).etag,
                "gateways agree"
            );
            assert_eq!(bytes(&elsewhere, encoding).await, bytes(&first, encoding).await);
        }
        assert_ne!(
            first.validators(Encoding::Gzip).etag,
            first.validators(Encoding::Plain).etag
        );
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&*bytes(&first, Encoding::Gzip).await)
            .read_to_end(&mut unpacked)
            .unwrap();
        assert_eq!(unpacked, bytes(&first, Encoding::Plain).await);
    }

    #[test]
    fn two_documents_of_one_second_do_not_share_a_date() {
        let first = document(&["x"], None, NOW);
        assert!(first.validators(Encoding::Plain).last_modified.is_some());
        let second = document(&["y"], Some(&first), SAME_SECOND);
        assert_eq!(second.validators(Encoding::Plain).last_modified, None);
    }
}
