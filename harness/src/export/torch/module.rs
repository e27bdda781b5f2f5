//! The text of a class: its modules as a tree of attributes, and its `forward`.

use std::collections::BTreeSet;

/// Modules and parameters of a class, by their path from `self`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Modules(Vec<(String, Made)>);

/// What stands at a path.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Made {
    /// A module: the expression that makes it.
    Module(String),
    /// A parameter.
    Parameter(String),
}

impl Modules {
    /// Adds what stands at a path; what is there already is the same, as convolutions that share their parameters are.
    pub(super) fn add(&mut self, path: &str, made: Made) {
        if !self.0.iter().any(|(known, _)| known == path) {
            self.0.push((path.to_owned(), made));
        }
    }

    /// The statements that make all of it, parents first; a parent that is nothing else is a `ModuleDict`.
    fn statements(&self) -> Vec<String> {
        let mut made = self.0.clone();
        for group in self.groups() {
            made.push((group, Made::Module("nn.ModuleDict()".to_owned())));
        }
        // A parent stands before what is within it, and otherwise everything where it is first used.
        let mut ordered: Vec<(String, Made)> = Vec::new();
        for (path, _) in &self.0 {
            let ends = path.match_indices('.').map(|(at, _)| at).chain([path.len()]);
            for prefix in ends.map(|end| &path[..end]) {
                let known = ordered.iter().any(|(known, _)| known == prefix);
                if let (false, Some(found)) = (known, made.iter().find(|(path, _)| path == prefix)) {
                    ordered.push(found.clone());
                }
            }
        }
        let statement = |(path, made): &(String, Made)| {
            let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
            let (of, value) = match made {
                Made::Module(value) => ("add_module", value.clone()),
                Made::Parameter(value) => ("register_parameter", format!("nn.Parameter({value})")),
            };
            let parent_path = self.access(parent);
            match (is_identifier(name), self.is_group(parent), made) {
                (true, ..) => format!("{parent_path}.{name} = {value}"),
                (false, true, Made::Module(_)) => format!("{parent_path}[\"{name}\"] = {value}"),
                (false, ..) => format!("{parent_path}.{of}(\"{name}\", {value})"),
            }
        };
        ordered.iter().map(statement).collect()
    }

    /// Parents that hold nothing of their own.
    fn groups(&self) -> BTreeSet<String> {
        let parents = self.0.iter().flat_map(|(path, _)| path.match_indices('.').map(|(at, _)| path[..at].to_owned()));
        parents.filter(|parent| !self.0.iter().any(|(path, _)| path == parent)).collect()
    }

    fn is_group(&self, path: &str) -> bool {
        !path.is_empty() && self.groups().contains(path)
    }

    /// The expression for what stands at a path.
    pub(super) fn access(&self, path: &str) -> String {
        let (mut text, mut parent) = ("self".to_owned(), String::new());
        for name in path.split('.').filter(|name| !name.is_empty()) {
            text += &match (is_identifier(name), self.is_group(&parent)) {
                (true, _) => format!(".{name}"),
                (false, true) => format!("[\"{name}\"]"),
                (false, false) => format!(".get_submodule(\"{name}\")"),
            };
            parent = if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") };
        }
        text
    }
}

/// A class of modules.
#[derive(Clone, Debug)]
pub(super) struct Class {
    pub name: String,
    /// Before it had to be told from others.
    pub base_name: String,
    /// What it derives from, and what that is made with.
    pub base: (String, String),
    /// Statements before those that make the modules.
    pub setup: Vec<String>,
    pub modules: Modules,
    /// What `forward` takes.
    pub parameters: Vec<String>,
    pub lines: Vec<String>,
    /// The layers that it makes; what else there is to say of it.
    pub layers: Vec<String>,
}

impl Class {
    /// Whether it is the same but for its name.
    pub(super) fn same(&self, other: &Self) -> bool {
        (&self.base_name, &self.base, &self.modules) == (&other.base_name, &other.base, &other.modules)
            && (&self.parameters, &self.lines) == (&other.parameters, &other.lines)
    }

    pub(super) fn text(&self) -> String {
        let ((base, made_with), layers) = (&self.base, wrapped(&self.layers.join(", "), "    "));
        let lines = |lines: &[String]| lines.iter().map(|line| format!("        {line}\n")).collect::<String>();
        let mut text = format!("class {}({base}):\n    \"\"\"{layers}\"\"\"\n\n", self.name);
        text += &format!("    def __init__(self):\n        super().__init__({made_with})\n");
        text += &(lines(&self.setup) + &lines(&self.modules.statements()));
        text + &format!("\n    def forward(self, {}):\n", self.parameters.join(", ")) + &lines(&self.lines)
    }
}

/// Lines of at most about 120 characters, the following ones indented.
fn wrapped(text: &str, indent: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.len() + word.len() < 112 => {
                if !line.is_empty() {
                    line.push(' ');
                }
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join(&format!("\n{indent}"))
}

fn is_identifier(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_first_and_numbers_are_keys() {
        let mut modules = Modules::default();
        let module = |text: &str| Made::Module(text.to_owned());
        modules.add("stage.0.conv.bn", module("Norm()"));
        modules.add("stage.0.conv", module("Conv()"));
        modules.add("stage.0.conv.1", module("Odd()"));
        modules.add("stage.0.conv", module("Conv()"));
        modules.add("stage.scale", Made::Parameter("torch.zeros(2)".to_owned()));
        assert_eq!(
            modules.statements(),
            [
                "self.stage = nn.ModuleDict()",
                "self.stage[\"0\"] = nn.ModuleDict()",
                "self.stage[\"0\"].conv = Conv()",
                "self.stage[\"0\"].conv.bn = Norm()",
                "self.stage[\"0\"].conv.add_module(\"1\", Odd())",
                "self.stage.scale = nn.Parameter(torch.zeros(2))",
            ]
        );
        assert_eq!(modules.access("stage.0.conv.1"), "self.stage[\"0\"].conv.get_submodule(\"1\")");
    }
}
