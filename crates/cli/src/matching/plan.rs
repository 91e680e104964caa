//! `--explain-plan`: what the compiled evaluator made of each chain.

use std::io::{self, Write};

use podwire_matcher::{BlockPlan, ChainPlan, Matcher};
use podwire_ruleset::RuleSet;

/// A list of fewer rules is told in the sum only.
const SHORT: u32 = 8;

pub(super) fn write_plan(
    matcher: &Matcher,
    rules: &RuleSet,
    out: &mut impl Write,
) -> io::Result<()> {
    let (mut short, mut asked) = (0_usize, 0_u32);
    for ChainPlan {
        table,
        chain,
        blocks,
    } in matcher.plan()
    {
        if let [BlockPlan::List { rules, folded: 0 }] = *blocks
            && rules < SHORT
        {
            (short, asked) = (short + 1, asked + rules);
            continue;
        }
        let name = rules.tables.get(&table).and_then(|own| own.chain(chain));
        let name = name.map_or("?", |chain| chain.name.as_str());
        let (mut first, last) = (1, blocks.len());
        for block in &blocks {
            let count = block.rules();
            let which = if last == 1 {
                String::new()
            } else {
                format!(", rules {first}-{}", first + count - 1)
            };
            writeln!(out, "{table}/{name}{which}: {block}")?;
            first += count;
        }
    }
    if short > 0 {
        writeln!(
            out,
            "and {short} chains of fewer than {SHORT} rules, {asked} in all, asked one by one"
        )?;
    }
    Ok(())
}
