//! One page: what is to be known at once, then what is to be looked at, then what is to be looked up.

use std::fmt::Write;

use super::{
    column::{self, Column},
    facts::{self, Facts, Pairs},
    group::Group,
    number,
    plots::{self, Plot},
    svg::{self, escape},
};
use crate::run::Run;

const STYLE: &str = include_str!("page.css");

/// The page about runs.
pub fn report(runs: &[Run], groups: &[Group<'_>], plots: &[Plot]) -> String {
    let Some(subject) = groups.first() else {
        return whole("Load", "<h1>No run</h1>");
    };
    let names: Vec<&str> = groups.iter().map(|group| group.name).collect();
    let mut body = header(groups, subject);
    body.push_str(&verdict(runs));
    body.push_str(&durability(runs));
    body.push_str(&tiles(groups, subject));
    if let Some(caveat) = facts::closed_loop(runs) {
        let _ = writeln!(body, "<p class=\"caveat\">{}</p>", escape(&caveat));
    }
    for plot in plots {
        body.push_str(&figure(plot));
    }
    body.push_str("<section><h2>All figures</h2>\n");
    for columns in [column::speed(), column::cost(runs), column::size(runs)] {
        body.push_str(&rows(groups, &columns));
    }
    body.push_str("</section>\n");
    body.push_str(&circumstances(runs));
    whole(&format!("Load: {}", names.join(", ")), &body)
}

/// A whole page of this look.
pub fn whole(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n\
         <style>\n{}{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        escape(title),
        svg::STYLE
    )
}

fn header(groups: &[Group<'_>], subject: &Group<'_>) -> String {
    let Some(speed) = subject.spread(|run| Some(run.sagas_per_second)) else {
        return format!("<header><h1>{}</h1></header>\n", escape(subject.name));
    };
    let mut about = vec![match speed.range(number::quantity) {
        Some(range) => format!(
            "<b>{}</b>, median of {} runs ({range})",
            escape(subject.name),
            speed.count
        ),
        None => format!("<b>{}</b>", escape(subject.name)),
    }];
    for other in &groups[1..] {
        if let Some(ratio) = subject.ratio(other, |run| Some(run.sagas_per_second)) {
            let range = ratio.range(number::times).map_or(String::new(), |range| {
                format!(" ({range}, {} pairs)", ratio.count)
            });
            about.push(format!(
                "<b>{}</b> {}{range}",
                number::times(ratio.median),
                escape(other.name)
            ));
        }
    }
    let first = subject.runs[0];
    about.push(number::minute(&first.began));
    format!(
        "<header>\n<h1><span>{}</span> sagas per second</h1>\n<p>{}</p>\n</header>\n",
        number::quantity(speed.median),
        about.join(" · ")
    )
}

/// Whether the figures count.
pub fn verdict(runs: &[Run]) -> String {
    let faults = facts::faults(runs);
    if faults.is_empty() {
        let accepted: u64 = runs.iter().map(|run| run.counts.accepted).sum();
        if accepted == 0 {
            return String::new();
        }
        return format!(
            "<p class=\"verdict\">✓ Every one of {} accepted orders became final exactly once.</p>\n",
            number::count(accepted)
        );
    }
    let mut told = format!(
        "<section class=\"faults\"><h2>{} fault{}: these figures do not count</h2>\n<ul>\n",
        faults.len(),
        if faults.len() == 1 { "" } else { "s" }
    );
    for (run, fault) in faults {
        let _ = writeln!(told, "<li><b>{}</b> {}</li>", escape(run), escape(fault));
    }
    told + "</ul>\n</section>\n"
}

/// What every figure stands on, in sight.
pub fn durability(runs: &[Run]) -> String {
    let durable: fn(&Run) -> Pairs = |run| {
        facts::settings(run)
            .into_iter()
            .filter(facts::is_durability)
            .collect()
    };
    let facts = Facts::of(runs, durable);
    if facts.same.is_empty() && facts.differing.is_empty() {
        return String::new();
    }
    let mut told = "<ul class=\"durability\" aria-label=\"Durability\">\n".to_owned();
    for (name, value) in &facts.same {
        let _ = writeln!(told, "<li>{} <b>{}</b></li>", escape(name), escape(value));
    }
    for name in &facts.differing {
        for (value, who) in facts::by_value(runs, name, durable) {
            // Embedded runs have no broker's setting: nothing to tell.
            if value != number::NONE {
                let (name, value, who) = (escape(name), escape(&value), escape(&who));
                let _ = writeln!(told, "<li>{name} <b>{value}</b> ({who})</li>");
            }
        }
    }
    told + "</ul>\n"
}

/// What a tile tells, of what, and how.
type Tile = (&'static str, fn(&Run) -> Option<f64>, fn(f64) -> String);

fn tiles(groups: &[Group<'_>], subject: &Group<'_>) -> String {
    let tiles: [Tile; 8] = [
        (
            "completed, p50",
            |run| column::latency(&run.completed, |latency| latency.p50),
            number::millis,
        ),
        (
            "completed, p99",
            |run| column::latency(&run.completed, |latency| latency.p99),
            number::millis,
        ),
        (
            "acknowledged, p50",
            |run| column::latency(&run.acknowledged, |latency| latency.p50),
            number::millis,
        ),
        (
            "CPU a saga, services",
            |run| column::cpu(run, &["orders", "customers", "services"]),
            number::millis,
        ),
        (
            "CPU a saga, broker",
            |run| column::cpu(run, &["broker"]),
            number::millis,
        ),
        (
            "CPU a saga, mongod",
            |run| column::cpu(run, &["mongod"]),
            number::millis,
        ),
        (
            "fsyncs a saga",
            |run| Some(run.storage.as_ref()?.fsyncs_per_saga),
            number::quantity,
        ),
        (
            "journal a saga",
            |run| Some(run.storage.as_ref()?.journal_bytes_per_saga),
            number::bytes,
        ),
    ];
    let mut told = "<ul class=\"tiles\">\n".to_owned();
    for (name, of, format) in tiles {
        let Some(spread) = subject.spread(of) else {
            continue;
        };
        let _ = write!(
            told,
            "<li><h3>{name}</h3><strong>{}</strong>",
            escape(&format(spread.median))
        );
        if let Some(range) = spread.range(format) {
            let _ = write!(told, "<small>{}</small>", escape(&range));
        }
        for other in groups[1..].iter().take(3) {
            if let Some(spread) = other.spread(of) {
                let _ = write!(
                    told,
                    "<small>{} {}</small>",
                    escape(other.name),
                    escape(&format(spread.median))
                );
            }
        }
        told.push_str("</li>\n");
    }
    told + "</ul>\n"
}

/// A plot with what is said about it.
pub fn figure(plot: &Plot) -> String {
    format!(
        "<section><h2>{}</h2>\n<p class=\"hint\">{}</p>\n<div class=\"wide\">{}</div></section>\n",
        escape(&plot.heading),
        escape(plot.hint),
        plot.svg.inline()
    )
}

fn rows(groups: &[Group<'_>], columns: &[Column]) -> String {
    let mut told = "<div class=\"wide\"><table>\n<thead>\n".to_owned();
    if columns.iter().any(|column| !column.section.is_empty()) {
        told.push_str("<tr><th></th>");
        for part in columns.chunk_by(|left, right| left.section == right.section) {
            let _ = write!(
                told,
                "<th colspan=\"{}\" class=\"over\">{}</th>",
                part.len(),
                escape(part[0].section)
            );
        }
        told.push_str("</tr>\n");
    }
    told.push_str("<tr><th></th>");
    for column in columns {
        let _ = write!(told, "<th>{}</th>", escape(&column.title));
    }
    told.push_str("</tr>\n</thead>\n<tbody>\n");
    for (at, group) in groups.iter().enumerate() {
        let dot = format!("<i style=\"background:var(--{})\"></i>", plots::series(at));
        if group.runs.len() > 1 {
            let _ = write!(
                told,
                "<tr class=\"group\"><th>{dot}{}, median</th>",
                escape(group.name)
            );
            for column in columns {
                let spread = group.spread(|run| column.value(run));
                let _ = write!(
                    told,
                    "<td>{}<small>{}</small></td>",
                    escape(&column.told(spread.map(|spread| spread.median))),
                    escape(&column.range(spread))
                );
            }
            told.push_str("</tr>\n");
        }
        for run in &group.runs {
            let dot = if group.runs.len() > 1 { "" } else { &dot };
            let _ = write!(told, "<tr><th>{dot}{}</th>", escape(&run.name));
            for column in columns {
                let _ = write!(told, "<td>{}</td>", escape(&column.told(column.value(run))));
            }
            told.push_str("</tr>\n");
        }
    }
    told + "</tbody>\n</table></div>\n"
}

/// Settings, versions and machine: once what is the same, in a table what differs.
pub fn circumstances(runs: &[Run]) -> String {
    let mut told = "<div class=\"columns\">\n".to_owned();
    let mut differing = String::new();
    for (kind, of) in facts::KINDS {
        let facts = Facts::of(runs, of);
        if !facts.same.is_empty() {
            let _ = writeln!(told, "<section class=\"facts\"><h2>{kind}</h2>\n<dl>");
            for pair in &facts.same {
                let class = if kind == "settings" && facts::is_durability(pair) {
                    " class=\"durable\""
                } else {
                    ""
                };
                let _ = writeln!(
                    told,
                    "<div{class}><dt>{}</dt><dd>{}</dd></div>",
                    escape(&pair.0),
                    escape(&pair.1)
                );
            }
            told.push_str("</dl></section>\n");
        }
        if !facts.differing.is_empty() {
            differing.push_str(&table_of_differing(kind, runs, &facts.differing, of));
        }
    }
    told + "</div>\n" + &differing
}

fn table_of_differing(kind: &str, runs: &[Run], names: &[String], of: fn(&Run) -> Pairs) -> String {
    let mut told = format!(
        "<section class=\"facts\"><h2>{kind} that differ</h2>\n<div class=\"wide\"><table>\n<tbody>\n"
    );
    for name in names {
        for (at, (value, who)) in facts::by_value(runs, name, of).iter().enumerate() {
            let name = if at == 0 { escape(name) } else { String::new() };
            let (value, who) = (escape(value), escape(who));
            let _ = writeln!(
                told,
                "<tr><th>{name}</th><td><b>{value}</b></td><td>{who}</td></tr>"
            );
        }
    }
    told + "</tbody>\n</table></div></section>\n"
}
