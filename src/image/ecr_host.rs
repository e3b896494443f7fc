//! The host names of Amazon ECR, and what people type instead of them.

use std::fmt;

use crate::error::{Error, nearest};

/// A private ECR registry's host, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EcrHost {
    /// Twelve digits, leading zeros kept.
    pub account_id: String,
    pub region: String,
    /// `aws`, `aws-cn`, `aws-us-gov`, …
    pub partition: &'static str,
    /// One of the `dkr-ecr` hosts, which answer on IPv6 too.
    pub dual_stack: bool,
    pub fips: bool,
}

/// The public registry, one for all accounts.
pub const PUBLIC: &str = "public.ecr.aws";

/// Whether a host is the public registry's; the second one answers on IPv6 too.
pub fn is_public(host: &str) -> bool {
    matches!(host, PUBLIC | "ecr-public.aws.com")
}

struct Partition {
    name: &'static str,
    /// Regions of this partition begin with one of these.
    prefixes: &'static [&'static str],
    suffix: &'static str,
    dual_stack_suffix: &'static str,
}

/// The last one takes every region that no other one does.
const PARTITIONS: [Partition; 8] = [
    Partition {
        name: "aws-cn",
        prefixes: &["cn-"],
        suffix: "amazonaws.com.cn",
        dual_stack_suffix: "on.amazonwebservices.com.cn",
    },
    Partition { name: "aws-us-gov", prefixes: &["us-gov-"], suffix: "amazonaws.com", dual_stack_suffix: "on.aws" },
    Partition {
        name: "aws-iso-b",
        prefixes: &["us-isob-"],
        suffix: "sc2s.sgov.gov",
        dual_stack_suffix: "on.aws.scloud",
    },
    Partition {
        name: "aws-iso-f",
        prefixes: &["us-isof-", "eu-isoe-"],
        suffix: "csp.hci.ic.gov",
        dual_stack_suffix: "on.aws.hci.ic.gov",
    },
    Partition { name: "aws-iso", prefixes: &["us-iso-"], suffix: "c2s.ic.gov", dual_stack_suffix: "on.aws.ic.gov" },
    Partition {
        name: "aws-iso-e",
        prefixes: &["eu-iso-"],
        suffix: "cloud.adc-e.uk",
        dual_stack_suffix: "on.cloud-aws.adc-e.uk",
    },
    Partition {
        name: "aws-eusc",
        prefixes: &["eusc-"],
        suffix: "amazonaws.eu",
        dual_stack_suffix: "on.amazonwebservices.eu",
    },
    Partition { name: "aws", prefixes: &[""], suffix: "amazonaws.com", dual_stack_suffix: "on.aws" },
];

/// Only for suggestions: a region that is newer than this list parses as well.
const REGIONS: [&str; 36] = [
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-central-1",
    "ca-west-1",
    "cn-north-1",
    "cn-northwest-1",
    "eu-central-1",
    "eu-central-2",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "sa-east-1",
    "us-gov-west-1",
];

impl EcrHost {
    /// The host's parts, or `None` when it is not ECR's.
    pub fn parse(host: &str) -> Option<EcrHost> {
        let (account_id, rest) = host.split_once('.')?;
        if account_id.len() != 12 || !account_id.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let forms = [
            ("dkr.ecr.", false, false),
            ("dkr.ecr-fips.", false, true),
            ("dkr-ecr.", true, false),
            ("dkr-ecr-fips.", true, true),
        ];
        let (rest, dual_stack, fips) = forms
            .iter()
            .find_map(|(prefix, dual_stack, fips)| Some((rest.strip_prefix(prefix)?, *dual_stack, *fips)))?;
        let (region, suffix) = rest.split_once('.')?;
        let partition = is_region(region).then(|| partition_of(region))?;
        let expected = if dual_stack { partition.dual_stack_suffix } else { partition.suffix };
        (suffix == expected).then(|| EcrHost {
            account_id: account_id.to_owned(),
            region: region.to_owned(),
            partition: partition.name,
            dual_stack,
            fips,
        })
    }
}

impl fmt::Display for EcrHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let partition = partition_of(&self.region);
        let separator = if self.dual_stack { '-' } else { '.' };
        let fips = if self.fips { "-fips" } else { "" };
        let suffix = if self.dual_stack { partition.dual_stack_suffix } else { partition.suffix };
        write!(f, "{}.dkr{separator}ecr{fips}.{}.{suffix}", self.account_id, self.region)
    }
}

fn partition_of(region: &str) -> &'static Partition {
    let found = PARTITIONS.iter().find(|partition| partition.prefixes.iter().any(|prefix| region.starts_with(prefix)));
    found.unwrap_or(&PARTITIONS[PARTITIONS.len() - 1])
}

/// Words, then a number: `us-west-2`, `us-gov-east-1`. `us-west2` is not one.
fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let Some((number, words)) = parts.split_last() else { return false };
    words.len() >= 2
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && words.iter().all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase()))
}

/// The error for a host that means to be ECR's and is not; `None` when it is, or means to be something else.
pub(super) fn mistake(host: &str) -> Option<Error> {
    let lower = host.to_ascii_lowercase();
    if EcrHost::parse(host).is_some() || !means_ecr(&lower) {
        return None;
    }
    let account = lower.split('.').next().filter(|first| first.bytes().all(|b| b.is_ascii_digit())).unwrap_or("");
    let region = region_within(&lower);
    let repaired = |account: &str| {
        let region = region.as_deref().unwrap_or("REGION");
        let suffix = partition_of(region).suffix;
        format!("{account}.dkr.ecr.{region}.{suffix}")
    };
    if !account.is_empty() && account.len() != 12 {
        let error = Error::input(format!("`{account}` has {} digits: an AWS account id has 12", account.len()));
        return Some(if account.len() == 11 {
            error.hint(format!(
                "account ids may begin with a zero: if that one was lost, it is `{}`",
                repaired(&format!("0{account}"))
            ))
        } else {
            error.hint("`aws sts get-caller-identity` shows the account's id")
        });
    }
    let error = Error::input(format!("`{host}` is not the host of an ECR registry"));
    Some(if account.is_empty() {
        error.hint(format!("did you mean `{}`, with your account's 12 digits in front?", repaired("ACCOUNT_ID")))
    } else {
        error.hint(format!("did you mean `{}`?", repaired(account)))
    })
}

fn means_ecr(host: &str) -> bool {
    let amazon = host.contains("amazon") || host.contains("amazo") || host.ends_with("on.aws");
    let labels: Vec<&str> = host.split('.').collect();
    let dkr = labels.iter().any(|label| *label == "dkr" || label.starts_with("dkr-ecr"));
    (dkr && host.contains("ecr")) || (amazon && (dkr || host.contains(".ecr")) && !host.starts_with("api."))
}

/// The region that a misspelt host most likely means.
fn region_within(host: &str) -> Option<String> {
    let squeezed: String = host.chars().filter(char::is_ascii_alphanumeric).collect();
    // Longest first, so that us-gov-west-1 is not taken for something shorter.
    let mut regions = REGIONS;
    regions.sort_by_key(|region| std::cmp::Reverse(region.len()));
    let within = regions.iter().find(|region| squeezed.contains(&region.replace('-', "")));
    let by_label = || host.split('.').filter(|label| label.contains('-')).find_map(|label| nearest(label, REGIONS));
    let newer = || host.split('.').find(|label| is_region(label));
    within.copied().or_else(newer).or_else(by_label).map(str::to_owned)
}
