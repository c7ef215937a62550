"""A sender for Hot Potato, in a distribution of its own."""

from setuptools import setup

setup(
    name="hotpotato-sender-acme",
    version="1.0",
    description="Sends Hot Potato's messages through ACME, an SMS provider that does not exist",
    license="MIT",
    python_requires=">=3.11",
    # Without package_dir an editable install is an import hook, where Twisted finds no plugins.
    package_dir={"": "."},
    packages=["hotpotato_sender_acme", "twisted.plugins"],
    package_data={"hotpotato_sender_acme": ["py.typed"]},
    zip_safe=False,
    install_requires=["hotpotato", "msgspec", "Twisted", "zope.interface"],
    extras_require={"test": ["pytest", "pytest-twisted"]},
)
