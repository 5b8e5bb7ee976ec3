//! The report of a study: a table for the terminal, a page for the browser, and
//! files for whoever wants to compute further. The same [`Study`] gives the same
//! bytes.

pub mod deadlines;
mod figures;
mod files;
mod page;
mod quantile;
mod rows;
mod summary;
mod table;
mod units;

#[cfg(test)]
mod synthetic;

pub use figures::timing as timing_picture;
pub use files::{ReportError, ReportFiles, write};
pub use page::html;
pub use summary::{Figures, ModelRow, PolicyTotal, Summary, TOLERANCE, Verdict};
pub use table::{Colour, terminal_table};

#[cfg(doc)]
use crate::study::Study;
