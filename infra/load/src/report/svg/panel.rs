//! A frame with two axes in which lines are drawn.

use super::{Svg, ruler::Ruler};

/// Place and axes.
pub struct Panel {
    /// Its left edge, right of the labels.
    pub left: f64,
    /// Its upper edge, below the title.
    pub top: f64,
    /// Without labels.
    pub width: f64,
    /// Without labels.
    pub height: f64,
    /// From left to right.
    pub x: Ruler,
    /// From below.
    pub y: Ruler,
}

impl Panel {
    /// Where a pair of values stands.
    pub fn at(&self, x: f64, y: f64) -> (f64, f64) {
        (
            self.left + self.x.place(x) * self.width,
            self.bottom() - self.y.place(y) * self.height,
        )
    }

    /// Where pairs of values stand, as far as they are numbers.
    pub fn all(&self, points: impl IntoIterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
        let numbers = points.into_iter().filter(|(x, y)| x.is_finite() && y.is_finite());
        numbers.map(|(x, y)| self.at(x, y)).collect()
    }

    /// Its lower edge.
    pub fn bottom(&self) -> f64 {
        self.top + self.height
    }

    /// Title, grid and labels; those of the x axis only where `with_x`.
    pub fn frame(&self, svg: &mut Svg, title: &str, with_x: bool) {
        let right = self.left + self.width;
        svg.text(self.left, self.top - 12.0, "start", "title", title);
        for (value, label) in &self.y.marks {
            let y = self.bottom() - self.y.place(*value) * self.height;
            svg.rule((self.left, y), (right, y), "grid");
            svg.text(self.left - 8.0, y + 4.0, "end", "", label);
        }
        for (value, label) in &self.x.marks {
            let x = self.left + self.x.place(*value) * self.width;
            svg.rule((x, self.top), (x, self.bottom()), "grid");
            if with_x {
                svg.text(x, self.bottom() + 19.0, "middle", "", label);
            }
        }
        svg.rule((self.left, self.bottom()), (right, self.bottom()), "frame");
    }
}
