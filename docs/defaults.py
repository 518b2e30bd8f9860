"""For the reference: a default that is a constant is shown as what it is: `"1m"`, not SIZE."""

from __future__ import annotations

import re

import griffe


class Defaults(griffe.Extension):
    """Replaces the names of constants by their values, once the package is read."""

    def on_package(self, *, pkg, loader, **kwargs):
        for module in modules_of(pkg):
            for function in functions_of(module):
                for parameter in function.parameters:
                    value = value_of(function, str(parameter.default or ""), loader)
                    if value is not None:
                        parameter.default = value


def modules_of(module):
    yield module
    for each in module.modules.values():
        if not each.is_alias:
            yield from modules_of(each)


def functions_of(owner):
    for each in owner.members.values():
        if each.is_alias:
            continue
        if each.is_function:
            yield each
        elif each.is_class:
            yield from functions_of(each)


def value_of(function, name, loader):
    """What the constant says, or None if this is none."""
    first, _, rest = name.partition(".")
    if not (rest or first).isupper():
        return None
    try:
        path = function.module.resolve(first)
    except griffe.NameResolutionError:  # as a text in capitals
        return None
    value = str(loader.modules_collection[f"{path}.{rest}" if rest else path].value)
    # Those of `configure` know that they are defaults: DefaultText("1m").
    return re.sub(r"^Default\w+\((.+)\)$", r"\1", value)
