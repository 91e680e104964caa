//! What can be wrong with the text, and where.

use miette::{Diagnostic, SourceSpan};
use podwire_packet::Family;
use thiserror::Error;

use crate::{LinkError, TableName};

/// Why a text is not a rule set.
#[derive(Clone, Debug, PartialEq, Eq, Error, Diagnostic)]
#[non_exhaustive]
pub enum ParseError {
    /// A line outside any table.
    #[error("`{text}` stands before any table")]
    #[diagnostic(
        code(podwire::iptables::outside_table),
        help("a table begins with `*filter`, `*nat`, `*mangle`, `*raw` or `*security`")
    )]
    OutsideTable {
        /// First word of the line.
        text: Box<str>,
        /// Its place.
        #[label("no table is open here")]
        at: SourceSpan,
    },
    /// `*name` with a name that is no table.
    #[error("`{text}` is not a table")]
    #[diagnostic(
        code(podwire::iptables::unknown_table),
        help("tables are filter, nat, mangle, raw and security")
    )]
    UnknownTable {
        /// The name.
        text: Box<str>,
        /// Its place.
        #[label("unknown table")]
        at: SourceSpan,
    },
    /// The text, or the next table, came before COMMIT.
    #[error("table {table} has no COMMIT")]
    #[diagnostic(
        code(podwire::iptables::missing_commit),
        help("a table ends with a line `COMMIT`; a file without it may have been cut")
    )]
    MissingCommit {
        /// The table.
        table: TableName,
        /// Where it begins.
        #[label("this table does not end")]
        at: SourceSpan,
    },
    /// A line that is none of a table's lines.
    #[error("`{text}` is not a command")]
    #[diagnostic(
        code(podwire::iptables::unknown_command),
        help("lines are `:CHAIN POLICY`, -A, -I, -N, -X, -F, -P, COMMIT and `# comment`")
    )]
    UnknownCommand {
        /// First word of the line.
        text: Box<str>,
        /// Its place.
        #[label("not a command")]
        at: SourceSpan,
    },
    /// A chain that nobody made.
    #[error("table {table} has no chain `{chain}`")]
    #[diagnostic(
        code(podwire::iptables::unknown_chain),
        help("a line `:{chain} - [0:0]` or `-N {chain}` makes it")
    )]
    UnknownChain {
        /// The table.
        table: TableName,
        /// The name.
        chain: Box<str>,
        /// Its place.
        #[label("no such chain")]
        at: SourceSpan,
    },
    /// `-N` of a chain that is there.
    #[error("table {table} already has a chain `{chain}`")]
    #[diagnostic(
        code(podwire::iptables::chain_exists),
        help("`-F {chain}` or a line `:{chain} - [0:0]` empties it")
    )]
    ChainExists {
        /// The table.
        table: TableName,
        /// The name.
        chain: Box<str>,
        /// Its place.
        #[label("already there")]
        at: SourceSpan,
    },
    /// `-X` of a built-in chain.
    #[error("`{chain}` is a built-in chain of table {table}")]
    #[diagnostic(
        code(podwire::iptables::built_in_chain),
        help("only chains that a text made can be deleted")
    )]
    BuiltInChain {
        /// The table.
        table: TableName,
        /// The name.
        chain: Box<str>,
        /// Its place.
        #[label("built-in")]
        at: SourceSpan,
    },
    /// A name that no chain may have.
    #[error("`{text}` cannot be the name of a chain")]
    #[diagnostic(
        code(podwire::iptables::bad_chain_name),
        help(
            "a name has 1 to 28 bytes, none of them blank, and does not begin with `-`, `!` or the name of a target"
        )
    )]
    BadChainName {
        /// The name.
        text: Box<str>,
        /// Its place.
        #[label("not a chain name")]
        at: SourceSpan,
    },
    /// A policy that the chain cannot have.
    #[error("chain `{chain}` cannot have the policy `{text}`")]
    #[diagnostic(
        code(podwire::iptables::bad_policy),
        help("built-in chains have ACCEPT or DROP, others have `-`")
    )]
    BadPolicy {
        /// The chain.
        chain: Box<str>,
        /// The policy.
        text: Box<str>,
        /// Its place.
        #[label("not a policy of this chain")]
        at: SourceSpan,
    },
    /// Counters that are not numbers.
    #[error("`{text}` are not counters")]
    #[diagnostic(
        code(podwire::iptables::bad_counters),
        help("counters are packets and bytes: `[12:3456]`, or `-c 12 3456` in a rule")
    )]
    BadCounters {
        /// The text.
        text: Box<str>,
        /// Its place.
        #[label("not counters")]
        at: SourceSpan,
    },
    /// `-I CHAIN n` behind the chain's end.
    #[error("there is no rule {number} to insert before")]
    #[diagnostic(
        code(podwire::iptables::bad_rule_number),
        help("the chain has {rules} rules; a rule can be inserted at 1 to one more than that")
    )]
    BadRuleNumber {
        /// The number.
        number: u64,
        /// Rules of the chain.
        rules: usize,
        /// Its place.
        #[label("too high, or zero")]
        at: SourceSpan,
    },
    /// A double quote without its pair.
    #[error("the quote does not close")]
    #[diagnostic(
        code(podwire::iptables::unclosed_quote),
        help("a double quote closes on its line; between quotes, `\\\"` is the character itself")
    )]
    UnclosedQuote {
        /// From the quote to the end of the line.
        #[label("opened here")]
        at: SourceSpan,
    },
    /// A word where an option was expected.
    #[error("`{text}` belongs to no option")]
    #[diagnostic(
        code(podwire::iptables::unexpected_word),
        help("text with blanks needs double quotes")
    )]
    UnexpectedWord {
        /// The word.
        text: Box<str>,
        /// Its place.
        #[label("unexpected")]
        at: SourceSpan,
    },
    /// An option that neither a rule nor any module of it has.
    #[error("no module of this rule has the option `{option}`")]
    #[diagnostic(
        code(podwire::iptables::unknown_option),
        help(
            "name the module with -m or the target with -j before it; options are written in full"
        )
    )]
    UnknownOption {
        /// The option.
        option: Box<str>,
        /// Its place.
        #[label("unknown option")]
        at: SourceSpan,
    },
    /// An option without its value.
    #[error("`{option}` has no value")]
    #[diagnostic(
        code(podwire::iptables::missing_argument),
        help("a value follows the option, behind a blank or `=`")
    )]
    MissingArgument {
        /// The option.
        option: Box<str>,
        /// Its place.
        #[label("value missing")]
        at: SourceSpan,
    },
    /// A module without the option that says what it tests.
    #[error("`{module}` is incomplete")]
    #[diagnostic(code(podwire::iptables::missing_option), help("it needs {needs}"))]
    MissingOption {
        /// Module or target.
        module: Box<str>,
        /// What is missing.
        needs: &'static str,
        /// Its place.
        #[label("option missing")]
        at: SourceSpan,
    },
    /// An option that was there before.
    #[error("`{option}` is given more than once")]
    #[diagnostic(
        code(podwire::iptables::repeated_option),
        help("give it once, or name its module again with -m")
    )]
    RepeatedOption {
        /// The option.
        option: Box<str>,
        /// Place of the second one.
        #[label("repeated")]
        at: SourceSpan,
    },
    /// `!` before what cannot be inverted.
    #[error("`!` cannot stand before `{option}`")]
    #[diagnostic(
        code(podwire::iptables::not_invertible),
        help("`!` inverts one test, and stands once before its option")
    )]
    NotInvertible {
        /// The option, or the word behind `!`.
        option: Box<str>,
        /// Its place.
        #[label("cannot be inverted")]
        at: SourceSpan,
    },
    /// Ports or flags without the protocol that has them.
    #[error("`{module}` needs a protocol")]
    #[diagnostic(
        code(podwire::iptables::missing_protocol),
        help("it needs {needs}, without `!`, in the same rule")
    )]
    MissingProtocol {
        /// Module or target.
        module: Box<str>,
        /// The protocols.
        needs: &'static str,
        /// Its place.
        #[label("of which protocol?")]
        at: SourceSpan,
    },
    /// Not an address.
    #[error("`{text}` is not an {family} address")]
    #[diagnostic(
        code(podwire::iptables::bad_address),
        help("addresses are such as `10.244.0.0/16` or `fd00::/64`; host names are not looked up")
    )]
    BadAddress {
        /// The text.
        text: Box<str>,
        /// Family of the rule set.
        family: Family,
        /// Its place.
        #[label("not an address")]
        at: SourceSpan,
    },
    /// An address of the other family.
    #[error("`{text}` is in {family} rules, but of the other family")]
    #[diagnostic(
        code(podwire::iptables::wrong_family),
        help("IPv4 and IPv6 have rule sets of their own")
    )]
    WrongFamily {
        /// The text.
        text: Box<str>,
        /// Family of the rule set.
        family: Family,
        /// Its place.
        #[label("address of the other family")]
        at: SourceSpan,
    },
    /// Not a mask.
    #[error("`{text}` is not a mask")]
    #[diagnostic(
        code(podwire::iptables::bad_mask),
        help("masks are lengths, 0 to 32 or 128 by family, or addresses such as `255.255.255.0`")
    )]
    BadMask {
        /// The text.
        text: Box<str>,
        /// Its place.
        #[label("not a mask")]
        at: SourceSpan,
    },
    /// Not a port.
    #[error("`{text}` is not a port or range of ports")]
    #[diagnostic(
        code(podwire::iptables::bad_port),
        help(
            "ports are numbers from 0 to 65535, ranges go up; names of services are not looked up"
        )
    )]
    BadPort {
        /// The text.
        text: Box<str>,
        /// Its place.
        #[label("not a port")]
        at: SourceSpan,
    },
    /// More ports than `multiport` takes.
    #[error("there are more than 15 ports")]
    #[diagnostic(
        code(podwire::iptables::too_many_ports),
        help("multiport takes 15 at most, and a range counts twice")
    )]
    TooManyPorts {
        /// Place of the list.
        #[label("too many")]
        at: SourceSpan,
    },
    /// Not a number, or too large a one.
    #[error("`{text}` is not a number from {min} to {max}")]
    #[diagnostic(
        code(podwire::iptables::bad_number),
        help("numbers are decimal, or hexadecimal behind `0x`")
    )]
    BadNumber {
        /// The text.
        text: Box<str>,
        /// Least value.
        min: u64,
        /// Greatest value.
        max: u64,
        /// Its place.
        #[label("not such a number")]
        at: SourceSpan,
    },
    /// Not a protocol.
    #[error("`{text}` is not a protocol")]
    #[diagnostic(
        code(podwire::iptables::bad_protocol),
        help(
            "protocols are numbers from 0 to 255 or names such as tcp, udp, sctp, icmp, ipv6-icmp"
        )
    )]
    BadProtocol {
        /// The text.
        text: Box<str>,
        /// Its place.
        #[label("not a protocol")]
        at: SourceSpan,
    },
    /// Not the name of a device.
    #[error("`{text}` is not a device name")]
    #[diagnostic(
        code(podwire::iptables::bad_device),
        help(
            "names have 1 to 15 bytes without blanks or `/`; `+` at the end stands for any ending"
        )
    )]
    BadDevice {
        /// The text.
        text: Box<str>,
        /// Its place.
        #[label("not a device name")]
        at: SourceSpan,
    },
    /// A word that the option does not know.
    #[error("`{option}` does not take `{text}`")]
    #[diagnostic(code(podwire::iptables::bad_word), help("it takes {accepted}"))]
    BadWord {
        /// The option.
        option: Box<str>,
        /// The word.
        text: Box<str>,
        /// What it takes.
        accepted: &'static str,
        /// Place of the word.
        #[label("not one of them")]
        at: SourceSpan,
    },
    /// A list of addresses that makes too many rules.
    #[error("this line makes {rules} rules")]
    #[diagnostic(
        code(podwire::iptables::too_many_rules),
        help("one line may make {max} rules at most", max = super::MAX_RULES_OF_A_LINE)
    )]
    TooManyRules {
        /// How many.
        rules: usize,
        /// Place of the line.
        #[label("too many addresses")]
        at: SourceSpan,
    },
    /// A rule with more modules than the kernel takes.
    #[error("the rule has more than 128 modules")]
    #[diagnostic(
        code(podwire::iptables::too_many_modules),
        help("a chain of its own can hold the other tests")
    )]
    TooManyModules {
        /// Place of the first one that is too many.
        #[label("too many")]
        at: SourceSpan,
    },
    /// A command that changes what stands before it, where the text is read in one go.
    #[error("`{text}` changes what stands before it")]
    #[diagnostic(
        code(podwire::iptables::edits_earlier),
        help("`iptables-save` never writes that; a text that has it must be read as a whole")
    )]
    EditsEarlier {
        /// First word of the line.
        text: Box<str>,
        /// Its place.
        #[label("what it changes is not kept")]
        at: SourceSpan,
    },
    /// The chains do not fit together.
    #[error("{cause}")]
    #[diagnostic(
        code(podwire::iptables::link),
        help("a jump leads to a chain of the same table that is not built in, and never back")
    )]
    Link {
        /// What does not fit.
        #[source]
        cause: Box<LinkError>,
        /// Place of the chain's name behind -j or -g.
        #[label("this jump")]
        at: SourceSpan,
    },
}

impl ParseError {
    /// Where the fault is.
    #[must_use]
    pub const fn span(&self) -> SourceSpan {
        match self {
            Self::OutsideTable { at, .. }
            | Self::UnknownTable { at, .. }
            | Self::MissingCommit { at, .. }
            | Self::UnknownCommand { at, .. }
            | Self::UnknownChain { at, .. }
            | Self::ChainExists { at, .. }
            | Self::BuiltInChain { at, .. }
            | Self::BadChainName { at, .. }
            | Self::BadPolicy { at, .. }
            | Self::BadCounters { at, .. }
            | Self::BadRuleNumber { at, .. }
            | Self::UnclosedQuote { at }
            | Self::UnexpectedWord { at, .. }
            | Self::UnknownOption { at, .. }
            | Self::MissingArgument { at, .. }
            | Self::MissingOption { at, .. }
            | Self::RepeatedOption { at, .. }
            | Self::NotInvertible { at, .. }
            | Self::MissingProtocol { at, .. }
            | Self::BadAddress { at, .. }
            | Self::WrongFamily { at, .. }
            | Self::BadMask { at, .. }
            | Self::BadPort { at, .. }
            | Self::TooManyPorts { at }
            | Self::BadNumber { at, .. }
            | Self::BadProtocol { at, .. }
            | Self::BadDevice { at, .. }
            | Self::BadWord { at, .. }
            | Self::TooManyRules { at, .. }
            | Self::TooManyModules { at }
            | Self::EditsEarlier { at, .. }
            | Self::Link { at, .. } => *at,
        }
    }
}

/// Line and column of a byte of `text`, both from 1; columns count characters.
///
/// An offset behind the end is taken for the end, one inside a character for its first byte.
#[must_use]
pub fn line_column(text: &str, offset: usize) -> (usize, usize) {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.bytes().filter(|&byte| byte == b'\n').count() + 1;
    (line, before[line_start..].chars().count() + 1)
}
