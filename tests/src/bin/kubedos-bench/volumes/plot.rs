//! Draws the size over the processor time of every way.

use std::ops::Range;

use plotters::prelude::{
    ChartBuilder, Circle, Color, EmptyElement, IntoDrawingArea, IntoFont, IntoLogRange, PathElement,
    RGBColor, SVGBackend, Text, WHITE,
};

use super::{Volumes, Writer};
use crate::figures::{float, processor};

const SIZE: (u32, u32) = (900, 520);
const WRITERS: [(Writer, RGBColor); 3] = [
    (Writer::Ours, RGBColor(200, 60, 20)),
    (Writer::MkfsErofs, RGBColor(30, 90, 180)),
    (Writer::Mksquashfs, RGBColor(90, 90, 90)),
];
const MEBIBYTE: f64 = 1_048_576.0;

/// The drawing as SVG.
pub fn plot(volumes: &Volumes) -> String {
    let point = |written: &super::Written| {
        let seconds = processor(&written.costs).median();
        (seconds, float(written.bytes) / MEBIBYTE)
    };
    let points: Vec<(f64, f64)> = volumes.written.iter().map(point).collect();
    let least = |get: fn(&(f64, f64)) -> f64| points.iter().map(get).fold(f64::INFINITY, f64::min);
    let most = |get: fn(&(f64, f64)) -> f64| points.iter().map(get).fold(0.0, f64::max);
    let (seconds, sizes) =
        ((least(|p| p.0) / 1.5)..(most(|p| p.0) * 4.0), (least(|p| p.1) - 1.0)..(most(|p| p.1) + 1.0));
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        area.fill(&WHITE).unwrap();
        let mut chart = ChartBuilder::on(&area)
            .caption("One tree, written in every way", ("sans-serif", 18).into_font())
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(56)
            .build_cartesian_2d(seconds.log_scale(), sizes)
            .unwrap();
        chart
            .configure_mesh()
            .x_desc("processor time, seconds (logarithmic)")
            .y_desc("size, MiB")
            .x_label_formatter(&|value| format!("{value:.1}"))
            .y_label_formatter(&|value| format!("{value:.0}"))
            .light_line_style(WHITE)
            .draw()
            .unwrap();
        let mut labels = Labels::default();
        for (writer, colour) in WRITERS {
            let of_writer = volumes.written.iter().zip(&points).filter(|(one, _)| one.way.writer == writer);
            let placed: Vec<_> = of_writer
                .map(|(one, at)| {
                    (one.way.settings, *at, labels.place(chart.backend_coord(at), one.way.settings))
                })
                .collect();
            let marks = placed.into_iter().map(|(settings, at, below)| {
                EmptyElement::at(at)
                    + Circle::new((0, 0), 5, colour.filled())
                    + Text::new(settings, (LABEL_X, below), ("sans-serif", 13).into_font().color(&colour))
            });
            let legend = move |(x, y)| PathElement::new([(x, y), (x + 14, y)], colour.stroke_width(5));
            chart.draw_series(marks).unwrap().label(writer.name()).legend(legend);
        }
        chart.configure_series_labels().background_style(WHITE.filled()).draw().unwrap();
        area.present().unwrap();
    }
    text
}

/// The horizontal distance between a point and its label, and the maximum size of a letter, in pixels.
const LABEL_X: i32 = 9;
const LETTER: (i32, i32) = (8, 13);

/// The areas of the labels so far, so that labels do not overlap.
#[derive(Default)]
struct Labels(Vec<[Range<i32>; 2]>);

impl Labels {
    /// Reserves an area for a label; returns its vertical distance from the point.
    fn place(&mut self, (x, y): (i32, i32), text: &str) -> i32 {
        let width = i32::try_from(text.len()).unwrap() * LETTER.0;
        let at = |below: i32| [x + LABEL_X..x + LABEL_X + width, y + below..y + below + LETTER.1];
        let overlap = |a: &Range<i32>, b: &Range<i32>| a.start < b.end && b.start < a.end;
        let is_free = |below: &i32| {
            let [wide, high] = at(*below);
            !self
                .0
                .iter()
                .any(|[other_wide, other_high]| overlap(&wide, other_wide) && overlap(&high, other_high))
        };
        let below = [-6, 7, -19, 20, -32].into_iter().find(is_free).unwrap_or(-6);
        self.0.push(at(below));
        below
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_do_not_overlap() {
        let mut labels = Labels::default();
        let places = ["zstd 12", "zstd 12, fragments", "zstd 3"].map(|text| labels.place((10, 10), text));
        assert_eq!(places, [-6, 7, -19]);
        assert_eq!(labels.place((400, 10), "zstd 3"), -6);
    }
}
