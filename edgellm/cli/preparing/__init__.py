"""From a name to a file on this disk and a plan for it.

`requested` makes the `model_settings` of a model's flags, its table and the settings of all,
`unmatched_tables` which tables are about none; `resolve` finds the candidates, in the `store` or on
a hub (`hubs` says which, `network` whether it can be reached; `twins` what other tools have of it;
`vocabularies` are known again); `planning` chooses among them for this `machine` as it was `tuned`;
`fetching` brings the file here, `updating` a newer one where `pull` asks, `precheck` tells before
it what would fail after; `choosing` says before anything is downloaded which file it is to be,
`prepare` is all that in a row, `several` is it for all that one server has, `shelf` for all that
lie on this disk, `exporting` for what goes into a bundle, `bundled` tells of what is in one.
`best`, `catalog_ranking` and `sizes` choose the model or the machine as well; `refusal` is what is
told when nothing fits.
"""
