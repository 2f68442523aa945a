// The texts in English. A text with plurals has one for each form that Intl.PluralRules names; `{n}` chooses.
export default {
  nav: 'Pages', skip: 'Skip to the content', loading: 'Loading…', back: 'Back', close: 'Close', save: 'Save', edit: 'Edit',
  retry: 'Retry', cancel: 'Cancel', pause: 'Pause', resume: 'Resume', paused: 'paused', actions: 'Actions', never: 'never',
  since: 'for {ago}', instance: 'Instance', slots: 'Slots', 'time.now': 'now',
  overview: 'Overview', jobs: 'Jobs', transcripts: 'Transcripts', transcript: 'Transcript', recording: 'Recording {id}', hold: 'Hold', businesses: 'Businesses', instances: 'Instances', schema: 'Schema', job: 'Job {id}',
  'theme.dark': 'Dark theme', 'theme.light': 'Light theme', logout: 'Log out',
  keys: 'Keyboard shortcuts', 'keys.search': 'Search', 'keys.refresh': 'Ask anew', 'keys.close': 'Close a dialog, leave the search', 'keys.on': 'Single keys are shortcuts',
  'pages.next': 'Next', 'pages.previous': 'Previous', 'pages.first': 'First page',

  login: 'Log in', 'login.text': 'This dashboard shows call recordings and lets you operate the fleet.', 'login.token': 'API token', 'login.button': 'Log in',
  'login.wrong': 'This token is not known.', 'login.where': 'It is the value of CALLSPOOL_API_TOKEN, or one of CALLSPOOL_API_TOKENS.',

  'live.connecting': 'connecting', 'live.live': 'live', 'live.reconnecting': 'reconnecting', 'live.trouble': 'no data', 
  'live.old': 'What you see is of {at}, {age} ago.', 'data.none': 'There is no data yet.', 'data.stale': 'What you see may be old:',
  'problem.unreachable': 'The server cannot be reached.', 'problem.unavailable': 'The database does not answer.',
  'problem.schema_behind': 'The database’s schema is older than this program.', 'problem.scope': 'Your token does not allow this.',

  'state.ready': 'ready', 'state.scheduled': 'scheduled', 'state.running': 'running', 'state.done': 'done', 'state.cancelled': 'cancelled', 'state.dead': 'dead',

  'many.ready': 'ready', 'many.scheduled': 'scheduled', 'many.running': 'running', 'many.done': 'done', 'many.cancelled': 'cancelled', 'many.dead': 'dead',

  'overview.queue': 'The queue now', 'overview.idle': 'No business has a job that is ready or running.', 'overview.oldest': 'oldest: {age}', 'overview.slots': 'slots in use: {n}',
  'overview.plots': 'Over time', 'overview.span': 'Time shown', 'overview.businesses': 'Slots by business',
  'plot.throughput': 'Throughput, a minute', 'plot.backlog': 'Backlog', 'plot.latency': 'From enqueue to file', 'many.stored': 'stored', 'many.failed': 'failed attempts',
  'many.p50': 'half within', 'many.p95': '95% within',
  'plot.now': 'now', 'plot.table': 'As a table', 'plot.time': 'Time',
  'slots.of': '{used} of {limit}', 'slots.label': 'Slots of business {id} in use', 'slots.wait': '{n} ready, waiting for {age}',

  'stall.none': 'Nothing is stuck.', 'stall.title': 'This is stuck', 'stall.longest': 'longest:',
  'stall.runnable': 'All workers are busy', 'gone': 'a process that is gone', 'worker': '{host}, worker {n}', 'press.slots': 'Raise its slots', 'press.business': 'See the business', 'press.instances': 'See the instances', 'press.schema': 'See the schema', 'press.jobs': 'See the jobs',
  'reason.runnable': 'About to run', 'reason.slots_full': 'All slots are in use', 'reason.business_paused': 'The business is paused', 'reason.scheduled': 'Scheduled for later',
  'reason.no_live_workers': 'No worker is alive', 'reason.schema_behind': 'The schema is behind', 'reason.running': 'It runs', 'reason.finished': 'It is over',
  'reason.account_suspended': 'The account is suspended', 'reason.provider_unavailable': 'The provider is not available', 'reason.storage_unavailable': 'The storage is not available',
  'hold.lift': 'Lift', 'hold.lifted': 'Lifted: its jobs try again.', 'hold.probe': 'Next try', 'hold.waiting': 'waiting: {jobs}',
  'why.next': 'What to do:', 'why.also': 'Also:', 'paused.at': 'Paused', 'paused.by': 'By', 'why.holders': 'These jobs hold the slots:', 'why.holder': 'for {since} on {host}', 'why.due': 'Due', 'why.because': 'Because',
  'because.retry': 'an attempt failed', 'because.enqueued_for_later': 'it was enqueued for later', 'why.after': 'After', 'why.retry_after': 'The provider asked for',
  'why.last_seen': 'A worker was last seen', 'why.without_worker': 'These run without the role worker:', 'why.deadline': 'Deadline', 'why.cancel_requested': 'asked to stop',
  'why.ahead': 'Jobs before it', 'why.many': '{n} or more', 'why.workers': 'Workers busy',

  'jobs.search': 'Call SID or job number', 'jobs.find': 'Find', 'jobs.clear': 'Clear', 'jobs.states': 'Jobs by state', 'jobs.every': 'all', 'jobs.none': 'No job matches.',
  'jobs.select': 'Select the job of call {sid}', 'jobs.select_all': 'Select all on this page', 'jobs.unselect': 'Unselect',
  'jobs.selected': 'Selected: {jobs}', 'jobs.hint': 'Select jobs, or choose a state to act on all that match.',
  'jobs.matching': 'Select jobs, or act on all that match:', 'jobs.retry_all': 'Retry all', 'jobs.cancel_all': 'Cancel all',
  'jobs.n': { one: '{n} job', other: '{n} jobs' }, 'jobs.all': 'all jobs that match', 'bulk.retry': 'Retry {jobs}', 'bulk.retry.text': 'They become ready again, and run as slots allow.', 'bulk.retry.done': 'Ready again: {jobs}.',
  'bulk.cancel': 'Cancel {jobs}', 'bulk.cancel.text': 'Their recordings will not be fetched. Downloads of those that run stop.', 'bulk.cancel.done': 'Cancelled: {jobs}.',

  'job.call': 'Call', 'job.business': 'Business', 'job.state': 'State', 'job.attempt': 'Attempt', 'job.attempt_of': '{n} of {max}', 'job.enqueued': 'Enqueued', 'job.moment': 'Latest', 'job.error': 'Last error',
  'job.recording': 'Recording', 'job.type': 'Type', 'job.priority': 'Priority', 'job.started': 'Began', 'job.finished': 'Ended', 'job.where': 'Where',
  'job.timeline': 'What happened', 'job.facts': 'The job', 'job.audio': 'The recording', 'job.unplayable': 'The recording cannot be played here.', 'job.download': 'Download the file',
  'job.run_now': 'Run now', 'job.stopping': 'Stopping…', 'job.retried': 'The job is ready again.', 'job.cancelled': 'The job is cancelled, or stops within a second.',
  'job.cancel': 'Cancel this job?', 'job.cancel_text': 'Its recording will not be fetched.', 'job.cancel_running': 'It runs: its download stops, and its recording is not stored.',
  'timeline.failed': 'Attempt {n} failed', 'timeline.took': 'after {time}', 'timeline.running': 'Attempt {n} runs', 'timeline.next': 'Next attempt', 'timeline.waits': 'Waits for a slot',
  'audio.duration': 'Duration', 'audio.size': 'Size', 'audio.sha256': 'SHA-256',

  'transcripts.words': 'Words that were said', 'transcripts.hint': 'All words have to be there; "a phrase", or, and -without are understood.', 'transcripts.none': 'No transcript has these words.',
  'recording.hold': 'Legal hold', 'recording.release': 'End the legal hold', 'recording.held': 'Under a legal hold: nothing deletes it.', 'recording.free': 'The legal hold is over.',
  'recording.delete': 'Delete', 'recording.delete_it': 'Delete this recording?', 'recording.delete_text': 'Its file and its transcript go for good.', 'recording.deleted': 'The recording is deleted.', 'recording.link': 'Copy a link', 'recording.copied': 'Copied. Whoever has the link can listen until {at}.',

  'businesses.none': 'No business has had a job yet.', 'businesses.all': 'All businesses', 'businesses.go': 'Business number', 'businesses.count': { one: '{n} business', other: '{n} businesses' },
  'business.name': 'Business {id}', 'business.weight': 'Weight', 'business.max_slots': 'Slots', 'business.waiting': 'Waiting for', 'business.settings': 'Settings', 'business.works': 'works',
  'business.pause': 'Pause business {id}', 'business.resume': 'Resume business {id}', 'business.edit': 'Edit business {id}', 'business.paused': 'Business {id} is paused: no job of it begins.', 'business.resumed': 'Business {id} goes on.',
  'business.changed': 'Business {id} is changed.', 'business.is_paused': 'Paused for {since} by {by}.', 'business.pause_means': 'What runs may end; nothing begins.',
  'business.keeping': 'Its recordings', 'business.forms': 'Forms, in order', 'business.retention_days': 'Days kept', 'business.delete_at_provider': 'Delete at the provider', 'business.completion_url': 'Tell this URL', 'business.default': 'Empty: as configured for all.',
  'choice.': 'as configured', 'choice.true': 'yes', 'choice.false': 'no',
  'business.recent': 'Recent jobs', 'business.all_jobs': 'All its jobs', 'business.history': 'Who did what',
  'actions.none': 'Nobody has changed anything here.', 'actions.at': 'When', 'actions.who': 'Who', 'actions.what': 'What', 'actions.detail': 'Detail', 'actions.job': 'Job',
  'action.pause': 'paused', 'action.resume': 'resumed', 'action.max_slots': 'changed slots', 'action.weight': 'changed weight', 'action.retry': 'retried', 'action.cancel': 'cancelled',

  'instances.none': 'No instance is alive: start one with the role worker.', 'instance.alive': 'alive', 'instance.quiet': 'silent', 'instance.draining': 'draining', 'instance.beat': 'Last beat, ago', 'instance.roles': 'Roles', 'instance.workers': 'Workers',
  'instance.up': 'Up for', 'instance.id': 'Id', 'instance.actors': 'Actors', 'instance.no_actors': 'It has not told of its actors yet.',
  'actors.up': '{n} of {all} up', 'actor.up': 'up', 'actor.waiting': 'waits for the schema', 'actor.restarting': 'restarting', 'actor.stopped': 'stopped', 'actor.generation': 'generation {n}',
  'actor.restarts': 'restarts: {n}', 'actor.panic': 'Last panic:',

  'schema.fits': 'The schema fits this program.', 'schema.behind': 'Workers wait for migrations. Pending: {n}',
  'schema.incompatible': 'Version {version} is newer than this program, and not compatible with it.', 'schema.versions': 'Versions', 'schema.have': 'Have', 'schema.need': 'Need', 'schema.pending': 'Pending',
  'schema.lock': 'Migration lock', 'schema.unlocked': 'Nobody holds it.', 'schema.holder': 'Holder', 'schema.client': 'Address', 'schema.held': 'Held for', 'schema.query': 'Statement',
  'schema.failed': 'Failed migrations', 'schema.failed_at': 'Failed', version: 'Version', 'schema.reason': 'Reason', 'schema.migrations': 'Migrations', 'schema.description': 'Description', 'schema.applied': 'Applied', 'schema.took': 'Took',
  'schema.no_migrations': 'No migration is known.', 'schema.backfills': 'Backfills', 'schema.no_backfills': 'There are none.', 'backfill.rows': 'rows: {n}', 'backfill.rate': '{n} a second',
  'state.applied': 'applied', 'state.drifted': 'drifted', 'state.missing': 'missing', 'state.newer': 'newer', 'state.incompatible': 'incompatible', 'state.pending': 'pending', 'state.failed': 'failed',

};
