"""Reads a source file the way ci/tidy.py needs it: code, comments, functions.

Method: one regular expression per language finds comments and literals, and each view of a file
blanks some of them with spaces. A view therefore keeps every line and column: a match in a view is
a place in the file. C++ functions are found by matching braces in the code view; no compiler is
asked, so the answer is the same on a machine that has none.
"""
import ast
import pathlib
import re

LANGUAGES = {".h": "cpp", ".cpp": "cpp", ".cu": "cpp", ".cuh": "cpp", ".c": "cpp", ".hpp": "cpp",
             ".cc": "cpp", ".py": "python", ".cmake": "script", ".sh": "script"}
QUOTED = r'"(?:\\.|[^"\\\n])*"'
LITERALS = {
    # A single quote after a digit separates digits.
    "cpp": re.compile(r'(?P<comment>//[^\n]*|/\*.*?\*/)|R"(?P<mark>[^\s()\\]*)\(.*?\)(?P=mark)"|'
                      + QUOTED + r"|(?<!\w)'(?:\\.|[^'\\\n])*'", re.S),
    "python": re.compile(r'(?P<comment>#[^\n]*)|"""(?:\\.|[^\\])*?"""|'
                         + r"'''(?:\\.|[^\\])*?'''|" + QUOTED + r"|'(?:\\.|[^'\\\n])*'", re.S),
    "script": re.compile(r'(?P<comment>(?<!\S)#[^\n]*)|"(?:\\.|[^"\\])*"', re.S),
}
DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", re.M)
TYPE_KEYWORD = r"(?:struct|class|union|enum|namespace)\b"


def blank(text):
    return re.sub(r"[^\n]", " ", text)


class Function:
    """A function with a body: name, first and last line; header and body as in the code view.

    The body of a Python function is its syntax tree.
    """

    def __init__(self, name, line_first, line_last, header, body):
        self.name, self.line_first, self.line_last = name, line_first, line_last
        self.header, self.body = header, body


class Source:
    """One text file and its views.

    `code` has comments and literals blank, `uncommented` has comments blank, `comments` has all
    else blank. In a file of no known language all of it is code. `tree` is the syntax tree of a
    Python file, None if it does not parse.
    """

    def __init__(self, path, text):
        self.path, self.text = path, text
        self.suffix = pathlib.PurePosixPath(path).suffix
        is_cmake = path.endswith("CMakeLists.txt") or text.startswith("#!") and self.suffix == ""
        self.language = "script" if is_cmake else LANGUAGES.get(self.suffix, "text")
        pattern = LITERALS.get(self.language, re.compile(r"(?!)(?P<comment>)"))
        self.code = pattern.sub(lambda m: blank(m.group()), text)
        without = pattern.sub(lambda m: blank(m.group()) if m["comment"] else m.group(), text)
        self.uncommented = without
        self.comments = "".join(b if b == "\n" or a != b else " " for a, b in zip(without, text))
        self.tree = parse(text) if self.language == "python" else None

    def line_at(self, position):
        return self.text.count("\n", 0, position) + 1

    def includes(self):
        """Yields (line, quote, target) of each #include."""
        for match in re.finditer(r'^[ \t]*#\s*include\s*([<"])([^>"\n]+)', self.uncommented, re.M):
            if "#" in self.code[match.start() : match.end()]:  # not a line inside a raw string
                yield self.line_at(match.start(1)), match[1], match[2]

    def functions(self):
        if self.language == "python":
            return python_functions(self.tree)
        return cpp_functions(self.code) if self.language == "cpp" else []


def parse(text):
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError):
        return None


def python_functions(tree):
    nodes = ast.walk(tree) if tree else []
    return [Function(node.name, node.lineno, node.end_lineno, "", node) for node in nodes
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


def balanced(code):
    return code.count("{") == code.count("}")


def first_branches(code):
    """Blanks every #elif and #else branch, for files whose branches each open the same brace."""
    taken, kept = [], []
    for line in code.split("\n"):
        directive = re.match(r"\s*#\s*(if|el|endif)", line)
        if directive and directive[1] == "if":
            taken.append(True)
        elif directive and taken and directive[1] == "el":
            taken[-1] = False
        elif directive and taken:
            taken.pop()
        kept.append(line if all(taken) else blank(line))
    return "\n".join(kept)


def braces_only(code):
    """The code without directives: all branches of #if, or the first of each where not balanced."""
    whole = DIRECTIVE.sub(lambda m: blank(m.group()), code)
    if balanced(whole):
        return whole
    return DIRECTIVE.sub(lambda m: blank(m.group()), first_branches(code))


def cpp_functions(code):
    """The outermost functions: a lambda or local class inside one counts towards it."""
    code, found, header_at, depth, opened_at = braces_only(code), [], 0, 0, 0
    for match in re.finditer(r"[{};]", code):
        if depth:
            depth += {"{": 1, "}": -1, ";": 0}[match.group()]
            if depth == 0:
                header, body = code[header_at:opened_at], code[opened_at : match.end()]
                first = code.count("\n", 0, header_at + len(header) - len(header.lstrip())) + 1
                last = code.count("\n", 0, match.start()) + 1
                found.append(Function(function_name(header), first, last, header, body))
        elif match.group() == "{" and opens_function(code[header_at : match.start()]):
            depth, opened_at = 1, match.start()
        if not depth:
            header_at = match.end()
    return found


def collapse(text, pattern, mark):
    """Replaces innermost pairs until none is left."""
    count = 1
    while count:
        text, count = re.subn(pattern, mark, text)
    return text


def opens_function(header):
    """Whether a brace at namespace or class level, after this text, opens a function's body."""
    flat = re.sub(r"\boperator\s*(?:\(\s*\)|[^\w\s(]+)", "operator", header)
    flat = collapse(collapse(flat, r"\([^()]*\)", "@"), r"<[^<>]*>", "")  # @ stands for (...)
    if re.search(r"\]\s*(?:@[^=]*)?$", flat):
        return True  # a lambda
    is_type = re.match(r"\s*(?:\w+\s*:(?!:)\s*|template\s*|typedef\s*)*" + TYPE_KEYWORD, flat)
    is_type = is_type or re.search(r"\b" + TYPE_KEYWORD + r"\s+\w+[^@]*$", flat)
    return "@" in flat and not is_type and "(" not in flat and "=" not in flat


def function_name(header):
    match = re.search(r"(\b(?!__)[\w:~]+|operator[^\w\s(]+)\s*\(([^()]*)", header)
    if not match:
        return "lambda"
    is_macro = match[1].isupper()  # TEST(Suite, Name) is told apart by its arguments
    return f"{match[1]}({' '.join(match[2].split())})" if is_macro else match[1]
