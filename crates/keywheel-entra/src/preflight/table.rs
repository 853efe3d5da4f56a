use std::fmt;

use super::{Finding, Fix, Preflight, ReferenceCheck, Standing};

/// A [`Preflight`] for a terminal: a line for each finding, and below what to do about those that are not
/// as they should be. Plain text, at most two columns before the words.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a>(&'a Preflight);

impl<'a> Table<'a> {
    pub(super) fn new(preflight: &'a Preflight) -> Self {
        Self(preflight)
    }
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Preflight { tenant, client, .. } = self.0;
        let name = self.0.application.as_deref().unwrap_or("application");
        let who = if self.0.signed_in_user {
            "a signed-in user"
        } else {
            "itself"
        };
        writeln!(f, "{} ({client}) in {tenant}, as {who}", plain(name))?;
        for finding in &self.0.findings {
            row(f, finding)?;
        }
        for finding in self
            .0
            .findings
            .iter()
            .filter(|it| it.standing != Standing::Granted)
        {
            if let Some(fix) = &finding.fix {
                writeln!(f, "\n{}", plain(&finding.detail))?;
                how(f, fix)?;
            }
        }
        if let Some(reference) = &self.0.reference {
            take_away(f, reference)?;
        }
        let verdict = if self.0.passes() {
            "nothing is known to be missing"
        } else {
            "something is missing"
        };
        write!(f, "\nResult: {verdict}")
    }
}

fn row(f: &mut fmt::Formatter<'_>, finding: &Finding) -> fmt::Result {
    let Finding { standing, need, .. } = finding;
    write!(f, "  {standing:<8} {need:<16} {}", plain(&finding.detail))?;
    match finding.purpose {
        Some(purpose) => writeln!(f, " [{purpose}]"),
        None => writeln!(f),
    }
}

fn how(f: &mut fmt::Formatter<'_>, fix: &Fix) -> fmt::Result {
    writeln!(f, "    portal   {}", plain(&fix.portal))?;
    for command in &fix.commands {
        writeln!(f, "    command  {}", plain(command))?;
    }
    if let Some(address) = &fix.admin_consent {
        writeln!(f, "    consent  {address}")?;
    }
    Ok(())
}

fn take_away(f: &mut fmt::Formatter<'_>, reference: &ReferenceCheck) -> fmt::Result {
    writeln!(
        f,
        "\nYou granted what that page asks for; this is what you can take away (keep {}):",
        reference.keep.join(", ")
    )?;
    for removable in &reference.remove {
        writeln!(
            f,
            "  {} ({}): {}",
            removable.permission, removable.kind, removable.reason
        )?;
        how(f, &removable.fix)?;
    }
    Ok(())
}

/// Names come from the directory: whoever sets them must not steer the terminal.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}
