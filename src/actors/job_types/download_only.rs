pub struct DownloadOnly;
