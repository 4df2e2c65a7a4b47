"""The board's operating system apart from its shell: kernel log and files. No I/O."""

from __future__ import annotations

from collections.abc import Iterator

from .bootloader import Step

RELEASE = "6.6.0-virtual"
VERSION = f"Linux version {RELEASE} (builder@jumpstarter) (aarch64-linux-gnu-gcc 13.2.0) #1 SMP PREEMPT"


class Linux:
    """What lives from kernel start to power-off or reboot. Delays in seconds."""

    def __init__(self, *, hostname: str, bootargs: str, line_delay: float) -> None:
        self.hostname = hostname
        self.messages: list[str] = []
        self._bootargs = bootargs
        self._line_delay = line_delay
        self._clock = 0.0

    def log(self, message: str, seconds: float = 0.013) -> str:
        """A new line of the kernel log; the next one is `seconds` later."""
        line = f"[{self._clock:12.6f}] {message}\n"
        self._clock += seconds
        self.messages.append(line)
        return line

    def _log_all(self, *messages: str) -> Iterator[Step]:
        for message in messages:
            yield self.log(message, 0.013 + self._line_delay), self._line_delay

    def start_kernel(self) -> Iterator[Step]:
        """The kernel log up to the search for the root file system."""
        yield "\nStarting kernel ...\n\n", self._line_delay
        yield from self._log_all(
            "Booting Linux on physical CPU 0x0000000000 [0x410fd034]",
            VERSION,
            "Machine model: Jumpstarter virtual board",
            "Memory: 512MB available",
            f"Kernel command line: {self._bootargs}",
            "smp: Bringing up secondary CPUs ...",
            "smp: Brought up 1 node, 2 CPUs",
            "clocksource: Switched to clocksource arch_sys_counter",
            "NET: Registered PF_INET protocol family",
            "Serial: 8250/16550 driver, 1 ports, IRQ sharing disabled",
            "printk: console [ttyS0] enabled",
            "virtio_blk virtio0: [vda] 2097152 512-byte logical blocks (1.07 GB/1.00 GiB)",
        )

    def start_init(self) -> Iterator[Step]:
        """From the mounted root file system to the login prompt."""
        yield from self._log_all(
            "EXT4-fs (vda): mounted filesystem with ordered data mode",
            "VFS: Mounted root (ext4 filesystem) readonly on device 254:0.",
            "Run /sbin/init as init process",
        )
        for service in ("udev", "syslogd", "network"):
            yield f"Starting {service}: OK\n", self._line_delay

    def panic(self) -> Iterator[Step]:
        """A kernel that finds no root file system."""
        yield from self._log_all(
            "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(254,0)",
            "Rebooting immediately..",
        )

    def shut_down(self, last_words: str) -> Iterator[Step]:
        for service in ("network", "syslogd", "udev"):
            yield f"Stopping {service}: OK\n", self._line_delay
        yield from self._log_all(last_words)

    def read_file(self, path: str) -> str | None:
        """The text of a file, or None."""
        return {
            "/etc/hostname": f"{self.hostname}\n",
            "/etc/os-release": (
                'NAME="Jumpstarter Virtual Linux"\nID=jumpstarter-virtual\nVERSION_ID=1\n'
                'PRETTY_NAME="Jumpstarter Virtual Linux 1"\n'
            ),
            "/proc/cmdline": f"{self._bootargs}\n",
            "/proc/version": f"{VERSION}\n",
        }.get(path)
