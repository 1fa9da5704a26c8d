//! Products in blocks: rendered, packed, and shared by every document that has the same.
//!
//! A block holds a run of neighbouring products. Where one ends is decided by the products' names alone, so
//! that every gateway cuts the same products at the same places and serves the same bytes under the same
//! tag; and a change renders one block anew, the others are passed on as they are.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::{Arc, Weak},
};

use bytes::Bytes;
use crc32fast::Hasher;
use rootstock_model::Digest;

use super::{
    gzip::{Packer, Piece},
    parallel,
};

/// Products in a block, on average. Larger blocks pack better (hashes apart, all products are much alike),
/// smaller ones are rendered faster.
const PRODUCTS_PER_BLOCK: u8 = 32;

/// Blocks that are worth a thread of their own.
const BLOCKS_PER_THREAD: usize = 8;

/// A product as it stands in the documents.
#[derive(Debug, Clone)]
pub(super) struct Rendered {
    /// Its name, as JSON.
    pub(super) name: Bytes,
    /// Its name and what is said of it: a member of a JSON object.
    pub(super) member: Bytes,
}

/// Neighbouring products, by their names.
type Run = Vec<(Box<str>, Rendered)>;

/// A run of products.
#[derive(Debug)]
pub(super) struct Block {
    products: Box<[Product]>,
    /// The products' names.
    pub(super) names: Items,
    /// The products.
    pub(super) members: Items,
}

/// A product's name, and where its JSON ends in the block's items.
#[derive(Debug)]
struct Product {
    name: Box<str>,
    name_end: usize,
    member_end: usize,
}

/// What a block puts into one of the documents: JSON with a comma between any two items.
#[derive(Debug)]
pub(super) struct Items {
    /// With a comma in front.
    piece: Piece,
    /// Of the items without that comma.
    checksum: Hasher,
    /// Names the items' bytes.
    pub(super) plain_digest: Digest,
    /// Names their packed bytes.
    pub(super) packed_digest: Digest,
}

impl Items {
    fn new(items: Vec<u8>, packer: &mut Packer, keeps_plain: bool) -> io::Result<Self> {
        let plain_digest = Digest::of(&items);
        let piece = packer.pack(items)?;
        Ok(Self {
            checksum: piece.checksum(),
            plain_digest,
            packed_digest: Digest::of(&piece.packed),
            piece: piece.after(&comma(), keeps_plain),
        })
    }

    /// The items as they follow others.
    pub(super) fn following(&self) -> &Piece {
        &self.piece
    }

    /// The items as the first of a document.
    pub(super) fn first(&self) -> Piece {
        self.piece.without(&comma(), &self.checksum)
    }
}

fn comma() -> Piece {
    Piece::stored(b",", false)
}

impl Block {
    fn new(products: Run, packer: &mut Packer, keeps_plain: bool) -> io::Result<Self> {
        let (mut names, mut members) = (Vec::new(), Vec::new());
        let products: Box<[Product]> = products
            .into_iter()
            .map(|(name, rendered)| {
                push_item(&mut names, &rendered.name);
                push_item(&mut members, &rendered.member);
                Product {
                    name,
                    name_end: names.len(),
                    member_end: members.len(),
                }
            })
            .collect();
        Ok(Self {
            products,
            names: Items::new(names, packer, keeps_plain)?,
            members: Items::new(members, packer, keeps_plain)?,
        })
    }

    fn products(&self) -> impl Iterator<Item = (Box<str>, Rendered)> {
        let (names, members) = (self.names.first().plain(), self.members.first().plain());
        let (mut name_start, mut member_start) = (0, 0);
        self.products.iter().map(move |product| {
            let rendered = Rendered {
                name: names.slice(name_start..product.name_end),
                member: members.slice(member_start..product.member_end),
            };
            name_start = product.name_end + 1;
            member_start = product.member_end + 1;
            (product.name.clone(), rendered)
        })
    }

    fn first_name(&self) -> &str {
        self.products.first().map_or("", |product| &product.name)
    }
}

fn push_item(items: &mut Vec<u8>, item: &[u8]) {
    if !items.is_empty() {
        items.push(b',');
    }
    items.extend_from_slice(item);
}

/// Whether a product begins a block, wherever it stands.
fn begins_block(name: &str) -> bool {
    Digest::of(name.as_bytes()).as_bytes()[0].is_multiple_of(PRODUCTS_PER_BLOCK)
}

/// Blocks that exist, whichever documents have them.
#[derive(Debug)]
pub(super) struct Pool {
    blocks: HashMap<Digest, Weak<Block>>,
    /// Bytes of blocks that are kept unpacked as well.
    plain_bytes: usize,
    /// How many may be.
    max_plain_bytes: usize,
}

impl Pool {
    pub(super) fn new(max_plain_bytes: usize) -> Self {
        Self {
            blocks: HashMap::new(),
            plain_bytes: 0,
            max_plain_bytes,
        }
    }

    /// The blocks of these products: those that exist already, or new ones.
    fn blocks(&mut self, runs: Vec<Run>) -> io::Result<Vec<Arc<Block>>> {
        let mut missing = Vec::new();
        let mut blocks: Vec<Option<Arc<Block>>> = Vec::with_capacity(runs.len());
        for run in runs {
            let mut members = Vec::new();
            for (_, rendered) in &run {
                push_item(&mut members, &rendered.member);
            }
            let existing = self.blocks.get(&Digest::of(&members)).and_then(Weak::upgrade);
            if existing.is_none() {
                missing.push(run);
            }
            blocks.push(existing);
        }
        let mut made = make_all(missing, self.plain_bytes < self.max_plain_bytes)?.into_iter();
        for block in &mut blocks {
            if block.is_none() {
                *block = made.next();
            }
        }
        let blocks: Vec<Arc<Block>> = blocks.into_iter().flatten().collect();
        for block in &blocks {
            self.blocks
                .insert(block.members.plain_digest, Arc::downgrade(block));
        }
        Ok(blocks)
    }

    /// Forgets blocks that no document has any more, once there are more of them than of others, and counts
    /// what the others keep.
    pub(super) fn sweep<'a>(&mut self, in_use: impl Iterator<Item = &'a Blocks>) {
        let (mut count, mut plain_bytes) = (0, 0);
        for block in in_use.flat_map(Blocks::as_slice) {
            count += 1;
            plain_bytes += block.names.piece.kept_plain_bytes() + block.members.piece.kept_plain_bytes();
        }
        self.plain_bytes = plain_bytes;
        if self.blocks.len() > 2 * count + BLOCKS_PER_THREAD {
            self.blocks.retain(|_, block| block.strong_count() > 0);
        }
    }
}

fn make_all(runs: Vec<Run>, keeps_plain: bool) -> io::Result<Vec<Arc<Block>>> {
    parallel::map(runs, BLOCKS_PER_THREAD, |runs| {
        let mut packer = Packer::new();
        let blocks = runs
            .into_iter()
            .map(|run| Block::new(run, &mut packer, keeps_plain).map(Arc::new));
        blocks.collect()
    })
}

/// The blocks of a document, in the order of their products.
#[derive(Debug, Clone, Default)]
pub(super) struct Blocks(Vec<Arc<Block>>);

impl Blocks {
    /// Puts products in, in the place of those of the same name, and takes out those that are `None`.
    ///
    /// # Errors
    /// The compressor broke; then nothing has changed.
    pub(super) fn apply(
        &mut self,
        changes: BTreeMap<Box<str>, Option<Rendered>>,
        pool: &mut Pool,
    ) -> io::Result<()> {
        let mut changes = changes.into_iter().peekable();
        // Blocks that stay, and stretches of products that are cut into blocks anew.
        let mut stretches = Vec::new();
        for (index, block) in self.0.iter().enumerate() {
            let next = self.0.get(index + 1).map(|next| next.first_name());
            let is_here = |name: &str| next.is_none_or(|next| name < next);
            if !changes.peek().is_some_and(|(name, _)| is_here(name)) {
                stretches.push(Stretch::Kept(Arc::clone(block)));
                continue;
            }
            let mut products: BTreeMap<_, _> = block.products().collect();
            while let Some((name, change)) = changes.next_if(|(name, _)| is_here(name)) {
                match change {
                    Some(product) => products.insert(name, product),
                    None => products.remove(&name),
                };
            }
            let is_begun = products.keys().next().is_some_and(|first| begins_block(first));
            // What does not begin a block belongs to the one before.
            match stretches.pop() {
                Some(Stretch::Kept(before)) if !is_begun => {
                    let before = before.products().chain(products);
                    stretches.push(Stretch::Changed(before.collect()));
                }
                Some(Stretch::Changed(mut before)) => {
                    before.extend(products);
                    stretches.push(Stretch::Changed(before));
                }
                before => {
                    stretches.extend(before);
                    stretches.push(Stretch::Changed(products.into_iter().collect()));
                }
            }
        }
        if self.0.is_empty() {
            let products = changes.filter_map(|(name, change)| Some((name, change?)));
            stretches.push(Stretch::Changed(products.collect()));
        }
        let mut blocks = Vec::with_capacity(self.0.len() + 1);
        for stretch in stretches {
            match stretch {
                Stretch::Kept(block) => blocks.push(block),
                Stretch::Changed(products) => blocks.extend(pool.blocks(cut(products))?),
            }
        }
        self.0 = blocks;
        Ok(())
    }

    /// The names of the products from this name on, in order.
    pub(super) fn names_from<'a>(&'a self, from: &'a str) -> impl Iterator<Item = &'a str> {
        let begin = self.0.partition_point(|block| block.first_name() <= from);
        let blocks = self.0.get(begin.saturating_sub(1)..).unwrap_or_default();
        let names = blocks.iter().flat_map(|block| &block.products);
        names
            .map(|product| &*product.name)
            .skip_while(move |name| *name < from)
    }

    pub(super) fn as_slice(&self) -> &[Arc<Block>] {
        &self.0
    }
}

enum Stretch {
    Kept(Arc<Block>),
    Changed(Run),
}

/// Cuts neighbouring products into blocks.
fn cut(products: Run) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (name, rendered) in products {
        match runs.last_mut() {
            Some(run) if !begins_block(&name) => run.push((name, rendered)),
            _ => runs.push(vec![(name, rendered)]),
        }
    }
    runs
}
