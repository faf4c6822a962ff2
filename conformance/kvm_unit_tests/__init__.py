"""kvm-unit-tests (public, GPL, built by the user outside the project) on bringup's machine and on QEMU TCG."""
