//! Who owns the files of a layer: ids, or names that the image's own accounts give ids.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::Image;
use super::base_files::{self, Found};
use super::entries::Tree;
use crate::error::{Error, Result, nearest};

const PASSWD: &str = "etc/passwd";
const GROUP: &str = "etc/group";

/// `1000`, `1000:1000`, `app` or `app:web`. Without a group: the user's own, which is a number's same number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub user: Account,
    pub group: Option<Account>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Account {
    Id(u32),
    Name(String),
}

impl FromStr for Account {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            // The last one means "no id" to the kernel.
            return text.parse().ok().filter(|id| *id != u32::MAX).map(Account::Id).ok_or(());
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "_.-@+$".contains(c);
        let sound = !text.is_empty() && !text.starts_with(['-', '+']) && text.chars().all(plain);
        if sound { Ok(Account::Name(text.to_owned())) } else { Err(()) }
    }
}

impl FromStr for Owner {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        Ok(Owner { user: user.parse()?, group: group.map(str::parse).transpose()? })
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Account::Id(id) => id.fmt(f),
            Account::Name(name) => f.write_str(name),
        }
    }
}

/// The accounts of an image that is being assembled. Files are read when the first name asks for them.
pub(super) struct Accounts<'a> {
    base: Option<&'a Image>,
    of_base: Option<BTreeMap<Vec<u8>, Found>>,
}

impl<'a> Accounts<'a> {
    pub(super) fn new(base: Option<&'a Image>) -> Self {
        Accounts { base, of_base: None }
    }

    /// The ids of an owner in an image whose own layers are `trees`, the uppermost first, over the base.
    pub(super) fn ids(&mut self, owner: &Owner, trees: &[&Tree]) -> Result<(u32, u32)> {
        let (user, own_group) = match &owner.user {
            Account::Id(id) => (*id, *id),
            Account::Name(name) => {
                let [id, group] = self.look_up(PASSWD, "user", name, trees, [2, 3])?;
                (id, group)
            }
        };
        let group = match &owner.group {
            None => own_group,
            Some(Account::Id(id)) => *id,
            Some(Account::Name(name)) => self.look_up(GROUP, "group", name, trees, [2])?[0],
        };
        Ok((user, group))
    }

    /// Numbers in these fields of the line that begins with `name`.
    fn look_up<const N: usize>(
        &mut self,
        file: &str,
        what: &str,
        name: &str,
        trees: &[&Tree],
        fields: [usize; N],
    ) -> Result<[u32; N]> {
        let numbers = "write it in numbers: `owner: \"1000:1000\"`";
        let Some(text) = self.text(file, trees)? else {
            return Err(Error::input(format!("there is no {what} `{name}`: the image has no `/{file}`"))
                .hint(format!("{numbers}, or put an `/{file}` into a layer before")));
        };
        let lines = text.lines().filter_map(|line| {
            let parts: Vec<&str> = line.split(':').collect();
            let mut ids = [0; N];
            for (id, field) in ids.iter_mut().zip(fields) {
                *id = parts.get(field)?.parse().ok()?;
            }
            Some((parts[0], ids))
        });
        let known: Vec<(&str, [u32; N])> = lines.collect();
        if let Some((_, ids)) = known.iter().find(|(known, _)| *known == name) {
            return Ok(*ids);
        }
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        let error = Error::input(format!("there is no {what} `{name}` in the image's `/{file}`"));
        Err(match nearest(name, names.iter().copied()) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint(format!("it has {}", names.join(", "))),
        }
        .hint(numbers))
    }

    fn text(&mut self, file: &str, trees: &[&Tree]) -> Result<Option<String>> {
        let mut found = trees.iter().find_map(|tree| tree.find(file.as_bytes()));
        if found.is_none()
            && let Some(base) = self.base
        {
            if self.of_base.is_none() {
                self.of_base = Some(base_files::find(base, &[PASSWD.as_bytes(), GROUP.as_bytes()].into())?);
            }
            found = self.of_base.as_ref().and_then(|files| files.get(file.as_bytes()).cloned()).map(Ok);
        }
        match found.transpose()? {
            None => Ok(None),
            Some(Found::File(bytes)) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Some(Found::Folder | Found::Other) => {
                Err(Error::input(format!("the image's `/{file}` is no plain file: names cannot be looked up in it"))
                    .hint("write owners in numbers: `owner: \"1000:1000\"`"))
            }
        }
    }
}
