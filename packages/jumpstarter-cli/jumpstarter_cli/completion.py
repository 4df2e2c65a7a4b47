"""`jmp completion`: scripts that make a shell complete `jmp` and `j`."""

from __future__ import annotations

import click

# Where the words come from: the programs themselves, asked through the variable that click's scripts set.
PROGRAMS = ("jmp", "j")


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that completes `jmp` and `j` in a shell.

    \b
    bash: eval "$(jmp completion bash)"           in ~/.bashrc
    zsh:  eval "$(jmp completion zsh)"            in ~/.zshrc, after compinit
    fish: jmp completion fish | source            in ~/.config/fish/config.fish

    Commands, aliases of clients and exporters and names of drivers are completed as they are at that moment; `j` asks
    the exporter, inside a `jmp shell`.
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    if found is None:
        raise click.ClickException(f"this version of click has no completion for {shell}")
    for program in PROGRAMS:
        script = found(click.Command(program), {}, program, f"_{program.upper()}_COMPLETE")
        # As source() has it, without its search for the shell's version.
        click.echo(script.source_template % script.source_vars())
