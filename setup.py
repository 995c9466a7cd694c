"""Everything about the package is in pyproject.toml, but for the compiled loops, which are left out unless asked for:

RATEMILL_NATIVE=1 pip install .      needs Cython and a C compiler
"""

import os

from setuptools import Extension, setup

if os.environ.get("RATEMILL_NATIVE") == "1":
    from Cython.Build import cythonize

    hot = Extension("ratemill.native._hot", ["native/_hot.pyx"], extra_compile_args=["-O2", "-g0"])
    setup(ext_modules=cythonize([hot], build_dir="build/cython"))
else:
    setup()
