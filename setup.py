"""What pyproject.toml cannot say: where the packages lie, and a C extension compiled on all cores."""

import fcntl
import os
from concurrent.futures import ThreadPoolExecutor
from importlib.machinery import SourceFileLoader
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.modified import newer_group

FOLDERS = ("vmm", "guests", "harness", "conformance", "reports")
BUILD = "build/release" if os.environ.get("BRINGUP_SANITIZE", "0") in ("", "0") else "build/sanitize"


class BuildCore(build_ext):
    """Compiles on all cores, and only the sources that changed since the last build (a changed header: all)."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.build_temp = f"{BUILD}/objects"  # where the next build finds them, an editable one too

    def run(self) -> None:
        Path(self.build_temp).mkdir(parents=True, exist_ok=True)
        with (Path(self.build_temp) / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two installations of one tree share its objects
            super().run()

    def build_extension(self, ext: Extension) -> None:
        compile_serially, everything = self.compiler.compile, self.force

        def compile_changed(sources: list[str], output_dir: str, **options: object) -> list[str]:
            def compile_one(source: str) -> str:
                target: str = self.compiler.object_filenames([source], output_dir=output_dir)[0]
                if everything or newer_group([source, *ext.depends], target):
                    compile_serially([source], output_dir=output_dir, **options)
                return target

            with ThreadPoolExecutor(os.cpu_count()) as pool:
                return list(pool.map(compile_one, sources))

        self.compiler.compile = compile_changed
        self.force = True  # always link: a source may have gone
        super().build_extension(ext)


class BuildPackages(build_py):
    """Puts the guest programs of conformance/cpu into a wheel, so that who installs it needs no compiler for them."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            path = Path("conformance/cpu/images.py")
            images = SourceFileLoader("images", str(path)).load_module()
            for program in images.PROGRAMS:
                output = Path(self.build_lib, "bringup", path.parent, "images", f"{program.name}.elf")
                output.parent.mkdir(parents=True, exist_ok=True)
                images.build(program, output)


setup(
    packages=[
        f"bringup.{package}"
        for folder in FOLDERS
        for package in (folder, *(f"{folder}.{sub}" for sub in find_packages(folder, exclude=["tests", "*.tests"])))
    ],
    package_dir={f"bringup.{folder}": folder for folder in FOLDERS},
    include_package_data=False,  # what MANIFEST.in adds is for the source distribution
    package_data={
        "": ["py.typed", "*.pyi", "**/*.toml"],
        "bringup.guests": ["linux/init"],
        "bringup.conformance": ["perf/guest/*", "cpu/guest/*", "cpu/guest/lib/*"],
    },
    cffi_modules=["vmm/core/build.py:builder"],
    cmdclass={"build_ext": BuildCore, "build_py": BuildPackages},
    options={"build": {"build_base": BUILD}, "bdist_wheel": {"py_limited_api": "cp311"}},
)
