"""Builds the documentation: sphinx-build -W docs build/site."""

import importlib
import re
from collections.abc import Mapping
from pathlib import Path

import spikegraph

ROOT = Path(__file__).parents[1]

project = 'spikegraph'
copyright = 'spikegraph contributors'
version = release = spikegraph.__version__
extensions = [
    'myst_nb',
    'sphinx.ext.autodoc',
    'sphinx.ext.napoleon',
    'sphinx_copybutton',
    'sphinxcontrib.mermaid',
]
exclude_patterns = ['_build']

# Pages read as well in the repository as on the site.
myst_enable_extensions = ['amsmath', 'dollarmath']
myst_fence_as_directive = ['mermaid']
myst_heading_anchors = 4
nb_execution_mode = 'off'  # Tests run the notebooks; their outputs are committed.
copybutton_exclude = '.linenos, .gp, .go'

autodoc_member_order = 'bysource'
autodoc_typehints = 'none'  # Docstrings say which types and shapes there are.
napoleon_numpy_docstring = False
napoleon_custom_sections = ['Shapes']
napoleon_use_rtype = False

html_theme = 'pydata_sphinx_theme'
html_title = 'spikegraph'
html_static_path = ['style']
html_css_files = ['site.css']
html_theme_options = {
    'show_toc_level': 2,
    'navbar_align': 'left',
    'navigation_with_keys': False,
    'secondary_sidebar_items': ['page-toc'],
    'footer_start': ['copyright'],
    'footer_end': ['theme-version'],
}

# Stands on a page for the public names of a package.
_PACKAGE = re.compile(r'\.\. public:: (spikegraph[\w.]*)\n')

# Folders, and files outside of this one, are no pages of the site.
_OUTSIDE = re.compile(r'(?<!!)\[([^\]]*)\]\((?:\.\./[^)]*|[\w./]+/)\)')
_SCRIPT = re.compile(r'\[([^][\n"]*)\]\((?:\.\./)?[\w/]+\.py\)')
_PAGES = {'CONTRIBUTING.md': 'contributing.md', 'CHANGELOG.md': 'changelog.md'}
_LINK = re.compile(r'(?<=\]\()(?!https?:|#)(?=[\w.]+)')


def _link_pages(app, docname, source):
    """Files of the repository that are pages of the site are linked as such; the names
    of other ones stand as code, as they do in the text."""
    if docname.startswith('examples/'):
        return

    def replaced(found):
        text = found[1]
        name, _, anchor = found[0].partition('](')[2].rstrip(')').partition('#')
        page = _PAGES.get(name.removeprefix('../'))
        if page is not None:
            return f'[{text}](/{page}{"#" * bool(anchor)}{anchor})'
        return text if text.startswith('`') else f'`{text}`'

    source[0] = _OUTSIDE.sub(replaced, source[0])


def _include_page(app, relative_path, parent, content):
    """Pages that lie in the root of the repository link from there."""
    content[0] = _LINK.sub('../', content[0]).replace('](../docs/', '](')
    _link_pages(app, parent, content)


def public_names(package):
    """What a package offers and has defined: each name is on one page."""
    module = importlib.import_module(package)
    listed = getattr(module, '__all__', None)
    constants = package if listed else ''
    own = {
        name: getattr(getattr(module, name), '__module__', constants)
        for name in listed or vars(module)
        if not name.startswith('_')
    }
    parts = {f'{package}.conv', f'{package}.distributed'}  # Pages of their own.
    return [
        name
        for name, origin in own.items()
        if (origin == package or origin.startswith(f'{package}.'))
        and not any(origin.startswith(f'{part}.') for part in parts)
        and type(getattr(module, name)) is not type(re)
    ]


def _describe(package, name):
    """The directive that writes the docstring of a public name, or says what it is."""
    value, path = getattr(importlib.import_module(package), name), f'{package}.{name}'
    if isinstance(value, type):
        return f'.. autoclass:: {path}\n   :members:\n'
    if callable(value):
        return f'.. autofunction:: {path}\n'
    if isinstance(value, Mapping):
        keys = ', '.join(f'``{getattr(key, "__name__", key)}``' for key in value)
        text = f'A dictionary. Its keys: {keys}.'
    else:
        text = f'``{value!r}``'
    return f'.. py:data:: {path}\n\n   {text}\n'


def _list_names(app, docname, source):
    def replaced(found):
        names = public_names(found[1])
        return '\n'.join(_describe(found[1], name) for name in names)

    source[0] = _PACKAGE.sub(replaced, source[0])


def _hide_private(app, what, name, obj, options, signature, result):
    """Arguments that only classmethods give."""
    return re.sub(r', \*(?:, _\w+=\(\))+', '', signature or '') or None, result


def _copy_notebooks(app, config):
    """Notebooks lie in `examples`; the builder wants them beside the pages."""
    target = Path(app.srcdir) / 'examples'
    target.mkdir(exist_ok=True)
    for path in sorted((ROOT / 'examples').glob('*.ipynb')):
        text = path.read_text(encoding='utf-8').replace('](../docs/', '](../')
        text = _SCRIPT.sub(r'\1', text)
        (target / path.name).write_text(text, encoding='utf-8')


def setup(app):
    app.connect('config-inited', _copy_notebooks)
    app.connect('source-read', _link_pages)
    app.connect('source-read', _list_names)
    app.connect('include-read', _include_page)
    app.connect('autodoc-process-signature', _hide_private)
