//! How the pixels of an image are cut into register tiles.
//!
//! A tile is a few vectors of four neighbouring pixels. A row whose length is no
//! multiple of four ends in a vector that overlaps the one before: its pixels
//! are computed twice, to the same bits, so that no store is partial. In the same
//! way the last tile of a row may overlap the one before, which costs less code than
//! a narrower tile. Only rows shorter than a vector have vectors with fewer lanes in
//! use.

use crate::emit::code::{Code, Local};

/// Four neighbouring pixels of the output, relative to the tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vector {
    /// The row.
    pub y: usize,
    /// The first pixel in it.
    pub x: usize,
    /// How many of the four there are.
    pub lanes: usize,
}

/// Tiles side by side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// How far left of the end of the chunk before the first tile begins, in
    /// pixels: those are computed twice.
    pub overlap: usize,
    /// The vectors of one tile.
    pub vectors: Vec<Vector>,
    /// How many tiles there are.
    pub repeat: usize,
    /// From one to the next, in pixels.
    pub advance: usize,
    /// How many pixels less it is to the last one.
    pub back: usize,
}

/// Rows of tiles below each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Band {
    /// The tiles of one row, from left to right.
    pub chunks: Vec<Chunk>,
    /// How many such rows there are.
    pub repeat: usize,
    /// The height of one, in pixels.
    pub rows: usize,
}

/// The vectors that cover a row.
fn row_vectors(width: usize) -> Vec<Vector> {
    if width < 4 {
        return vec![Vector { y: 0, x: 0, lanes: width }];
    }
    (0..width.div_ceil(4)).map(|v| Vector { y: 0, x: (4 * v).min(width - 4), lanes: 4 }).collect()
}

/// Cuts an image of `height` x `width` pixels into tiles of up to `vectors`
/// vectors. None of the three is 0.
pub fn bands(height: usize, width: usize, vectors: usize) -> Vec<Band> {
    let row = row_vectors(width);
    if row.len() < vectors {
        // Several rows to a tile.
        let rows = vectors / row.len();
        let band = |rows: usize, repeat: usize| {
            let vectors = (0..rows).flat_map(|y| row.iter().map(move |v| Vector { y, ..*v }));
            let vectors = vectors.collect();
            let chunk = Chunk { overlap: 0, vectors, repeat: 1, advance: width, back: 0 };
            Band { chunks: vec![chunk], repeat, rows }
        };
        let parts = [band(rows, height / rows), band(height % rows, 1)];
        return parts.into_iter().filter(|b| b.repeat > 0 && b.rows > 0).collect();
    }
    let advance = 4 * vectors;
    let whole = width / advance;
    let rest = &row[whole * vectors..];
    let mut chunks = Vec::new();
    // A whole tile instead of one at least half as wide.
    let overlaps = whole > 0 && !rest.is_empty() && 2 * rest.len() >= vectors;
    if whole > 0 {
        let repeat = whole + usize::from(overlaps);
        let back = if overlaps { repeat * advance - width } else { 0 };
        let vectors = row[..vectors].to_vec();
        chunks.push(Chunk { overlap: 0, vectors, repeat, advance, back });
    }
    if let (Some(first), false) = (rest.first(), overlaps) {
        let left = first.x.min(whole * advance);
        let vectors = rest.iter().map(|v| Vector { x: v.x - left, ..*v }).collect();
        let overlap = whole * advance - left;
        let advance = width - left;
        chunks.push(Chunk { overlap, vectors, repeat: 1, advance, back: 0 });
    }
    vec![Band { chunks, repeat: height, rows: 1 }]
}

/// A pointer that walks over the pixels of a plane with the tiles.
#[derive(Clone, Copy, Debug)]
pub struct Walker {
    /// The address of the tile's first pixel.
    pub pointer: Local,
    /// From one pixel of the output to its right neighbour, in bytes.
    pub pixel_bytes: i64,
    /// From one row of the output to the next, in bytes.
    pub row_bytes: i64,
}

/// Emits the loops over all tiles, around `tile`, which must leave the walkers
/// as they are. So does this function.
pub fn emit_tiles(
    code: &mut Code,
    bands: &[Band],
    walkers: &[Walker],
    tile: &mut dyn FnMut(&mut Code, &[Vector]),
) {
    for band in bands {
        code.repeat(band.repeat, |code| {
            let mut walked = 0;
            for chunk in &band.chunks {
                for walker in walkers {
                    code.advance(walker.pointer, -walker.pixel_bytes * chunk.overlap as i64);
                }
                code.repeat(chunk.repeat, |code| {
                    tile(code, &chunk.vectors);
                    for walker in walkers {
                        code.advance(walker.pointer, walker.pixel_bytes * chunk.advance as i64);
                    }
                    if chunk.back > 0 {
                        for walker in walkers {
                            let back = walker.pixel_bytes * chunk.back as i64;
                            code.advance_before_last(walker.pointer, -back);
                        }
                    }
                });
                walked += (chunk.repeat * chunk.advance) as i64;
                walked -= (chunk.overlap + chunk.back) as i64;
            }
            for walker in walkers {
                let down = walker.row_bytes * band.rows as i64;
                code.advance(walker.pointer, down - walker.pixel_bytes * walked);
            }
        });
    }
    let rows: usize = bands.iter().map(|b| b.rows * b.repeat).sum();
    for walker in walkers {
        code.advance(walker.pointer, -walker.row_bytes * rows as i64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pixel_is_covered_and_none_outside() {
        for width in 1..40 {
            for height in 1..6 {
                for vectors in 1..6 {
                    let mut covered = vec![0; width * height];
                    let mut top = 0;
                    for band in bands(height, width, vectors) {
                        for _ in 0..band.repeat {
                            let mut left = 0;
                            for chunk in &band.chunks {
                                left -= chunk.overlap;
                                assert!(chunk.vectors.len() <= vectors);
                                for tile in 0..chunk.repeat {
                                    if tile > 0 && tile + 1 == chunk.repeat {
                                        left -= chunk.back;
                                    }
                                    for v in &chunk.vectors {
                                        for lane in 0..v.lanes {
                                            let x = left + v.x + lane;
                                            assert!(x < width, "{width}x{height} by {vectors}");
                                            covered[(top + v.y) * width + x] += 1;
                                        }
                                    }
                                    left += chunk.advance;
                                }
                            }
                            top += band.rows;
                        }
                    }
                    assert_eq!(top, height);
                    assert!(
                        covered.iter().all(|&times| times > 0),
                        "{width}x{height} by {vectors}: {covered:?}"
                    );
                }
            }
        }
    }
}
